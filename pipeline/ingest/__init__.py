"""`skelepipe ingest`: process recordings into a store. Uses store and everything below."""
