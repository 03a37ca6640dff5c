"""Pre-training methods and their losses. Uses data and models."""
