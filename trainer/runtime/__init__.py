"""Execution environment: device, distributed processes, memory, signals, CUDA graphs. Uses pipeline."""
