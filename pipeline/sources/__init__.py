"""Data sets to recordings: NTU RGB+D, PKU-MMD, folders. Uses files, skeleton and artifacts."""
