"""Recipes: the processing steps from a recording to clips. Uses sources and everything below."""
