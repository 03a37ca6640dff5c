"""Folder data sets: skeleton.toml, manifest.csv and clip files of any skeleton."""
