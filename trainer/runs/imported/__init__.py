"""Import weights that other code bases released, as runs."""
