"""`skelepipe convert`: convert files of pose estimators and capture tools to a folder data set. Uses sources."""
