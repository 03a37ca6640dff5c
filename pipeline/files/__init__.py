"""Read files that may be hostile; write files that appear whole or not at all. Uses errors only."""
