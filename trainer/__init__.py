"""Stores and splits to an encoder and its evaluation. Uses pipeline."""
