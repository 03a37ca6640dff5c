"""Encoder, pooling, batch norm, and the momentum pair of query and key encoder. Uses config and runtime."""
