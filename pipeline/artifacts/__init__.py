"""Checksummed artifacts: document schemas, manifests, paths, and the newest artifact. Uses files and skeleton."""
