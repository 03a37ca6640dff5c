"""Stores and splits to encoders to numbers: SkeleMixCLR pre-training and its evaluation."""
