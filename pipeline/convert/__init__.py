"""What other tools write, to folders that `ingest folder` takes: a file for each tool, and what they share."""
