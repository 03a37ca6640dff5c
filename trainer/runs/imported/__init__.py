"""Runs made of weights that other code bases released."""
