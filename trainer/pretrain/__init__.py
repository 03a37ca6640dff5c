"""`skelepipe pretrain`: the training loop, checkpoints and validation. Uses evaluation and everything below."""
