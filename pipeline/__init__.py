"""Recordings to stores to splits: text is parsed, cleaned and kept. Never imports torch."""
