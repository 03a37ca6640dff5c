"""The Python interface that `skelepipe.py` exports: data sets for torch, and the commands as functions."""
