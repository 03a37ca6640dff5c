"""`skelepipe eval`: features, protocols and their results. Uses runs and everything below."""
