"""Configuration models, presets and `--set` keys. Imports no torch."""
