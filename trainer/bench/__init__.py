"""`skelepipe bench`: measure ingest, loading, training and evaluation."""
