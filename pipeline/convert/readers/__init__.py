"""One reader for each tool whose files can be converted."""
