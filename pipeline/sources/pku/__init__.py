"""PKU-MMD I and II: names, parser, labels and source."""
