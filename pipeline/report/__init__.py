"""HTML reports, skeleton views and charts of a store. Uses store and everything below."""
