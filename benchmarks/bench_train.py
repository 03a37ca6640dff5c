"""Samples a second of the plain training step on this CPU: eager, float32. The baseline of later work on speed.

Run: python benchmarks/bench_train.py [--steps 5] [--warmup 2] [--only NAME]. Random clips, resident in memory.
"""

import argparse
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from steps import commit, processor, seconds_of_steps

from trainer.config import PretrainConfig, compose, preset

CASES = {
    "full": PretrainConfig(batch_size=32),
    "quick": compose(preset("quick")).fitted(1188, bodies=1),  # as on 1,188 clips of one person
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--steps", type=int, default=5)
    options.add_argument("--warmup", type=int, default=2)
    options.add_argument("--only", choices=CASES)
    given = options.parse_args()
    print(f"{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}, commit {commit()}")
    print(f"eager float32, {given.steps} steps after {given.warmup} of warm-up\n")
    print(f"{'':8}{'channels':>9}{'T':>5}{'M':>3}{'B':>5}{'queue':>7}{'median samples/s':>18}{'range':>16}")
    for name, config in CASES.items():
        if given.only in (None, name):
            rates = [
                config.batch_size / seconds
                for seconds in seconds_of_steps(config, torch.device("cpu"), given.steps, given.warmup)
            ]
            size = f"{config.encoder.hidden_channels:9}{config.frames:5}{config.bodies:3}{config.batch_size:5}"
            spread = f"{min(rates):.1f} to {max(rates):.1f}"
            print(f"{name:8}{size}{config.pair.queue_size:7}{statistics.median(rates):18.1f}{spread:>16}", flush=True)


if __name__ == "__main__":
    main()
