"""The encoder, pooling, batch norm and the momentum pair. Uses config and runtime."""
