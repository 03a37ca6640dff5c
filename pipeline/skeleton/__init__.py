"""Skeleton layouts, recordings, and frame intervals. Uses files."""
