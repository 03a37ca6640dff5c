"""Clips to training batches: loading, shuffling, prefetching, augmentation, streams. Uses config and runtime."""
