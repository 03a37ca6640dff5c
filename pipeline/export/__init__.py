"""`skelepipe export`: a store in the file formats of other code bases. Uses store and everything below."""
