"""`skelepipe ingest`: recordings to a store. Uses store and everything below."""
