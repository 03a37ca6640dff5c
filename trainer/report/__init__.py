"""The HTML report of a run. Uses inference, pretrain and everything below."""
