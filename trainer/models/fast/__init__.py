"""The same encoder in less time: compiled loops on a CPU, another memory layout on a GPU."""
