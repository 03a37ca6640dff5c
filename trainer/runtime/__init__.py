"""Where work runs: device, distributed processes, memory, signals, CUDA graphs."""
