"""The Zarr store and its train/test splits. Uses recipes and everything below."""
