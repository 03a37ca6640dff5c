"""Training data: loading, shuffling, prefetching, augmentation and input streams. Uses config and runtime."""
