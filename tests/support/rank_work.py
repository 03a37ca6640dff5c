"""The work of each rank in test_distributed.py: `python rank_work.py FOLDER` writes its tensors to FOLDER."""

import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from pipeline.skeleton.layout import KINECT_V2
from trainer.config.pretrain import PretrainConfig
from trainer.models.batchnorm import BatchNorm1d, BatchNorm2d
from trainer.pretrain.step import train_step
from trainer.runs.run import Run, build_run_method
from trainer.runtime import distributed

torch.set_num_threads(1)

STEPS = 10
CASES = {
    "skeletonclr": ("skeletonclr", 8, None),
    "skelemixclr": ("skelemixclr", 7, None),
    "skelemixclr+": ("skelemixclr+", 9, None),
    "in parts": ("skelemixclr+", 11, 6),
}
"""Method, batch and micro-batch."""


def run_of(name, batch, micro_batch=None, dropout=0.0):
    config = PretrainConfig(
        frames=16,
        bodies=1,
        batch_size=batch,
        micro_batch=micro_batch,
        method={"name": name, "mix": {"frames": (1, 3), "repeats": 2}},
        pair={"queue_size": 13, "momentum": 0.9},
        encoder={"hidden_channels": 2, "hidden_dim": 8, "feature_dim": 4, "dropout": dropout},
    )
    return Run(path=None, preset="", config=config, layout=KINECT_V2, lineage={}, total_steps=99, digest="")


def trained(run, steps=STEPS):
    """Train; return the whole training state and the losses of each step as tensors by name."""
    method = build_run_method(run)
    pair = method.pair.double().train()
    optimiser = torch.optim.SGD(pair.query.parameters(), lr=0.05, momentum=0.9)
    count = run.config.batch_size
    clips = torch.randn(count, 3, 16, 25, 1, generator=torch.Generator().manual_seed(1)).double()
    losses = [train_step(method, optimiser, clips, np.arange(count) + 5, step, 0, run) for step in range(steps)]
    found = {f"pair.{name}": value for name, value in pair.state_dict().items()}
    for name in losses[0]:
        found[f"loss.{name}"] = torch.stack([loss[name] for loss in losses])
    momenta = (optimiser.state[parameter]["momentum_buffer"] for parameter in pair.query.parameters())
    return found | {f"momentum.{index}": value for index, value in enumerate(momenta)}


def steps():
    found = {}
    for case in CASES if distributed.world_size() < 3 else ["in parts"]:
        name, batch, micro_batch = CASES[case]
        found |= {f"{case}/{key}": value for key, value in trained(run_of(name, batch, micro_batch)).items()}
    return found


def dropout():
    """Run a step in which ranks drop different activations of the same clip."""
    run = run_of("skeletonclr", 4, dropout=0.5)
    torch.manual_seed(0)
    same = torch.randn(1, 3, 16, 25, 1).expand(4, -1, -1, -1, -1).double()
    method = build_run_method(run)
    method.pair.double().train()
    optimiser = torch.optim.SGD(method.pair.query.parameters(), lr=0.05)
    train_step(method, optimiser, same, np.array([3, 3, 3, 3]), 0, 0, run)
    return {"queue": method.pair.queue, "drawn": torch.rand(4)}


SHAPES = {"flat": (11, 4), "long": (11, 4, 6), "plane": (11, 4, 6, 5)}


def norm_case(shape):
    """Return a norm with random weights, an input far from zero and a gradient: float64, equal on all ranks."""
    rng = torch.Generator().manual_seed(len(shape))
    norm = (BatchNorm2d if len(shape) == 4 else BatchNorm1d)(4).double()
    with torch.no_grad():
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            tensor.copy_(torch.rand(4, generator=rng) + 0.5)
    x = 3 * torch.randn(shape, generator=rng, dtype=torch.float64) + 20
    return norm, x, torch.randn(shape, generator=rng, dtype=torch.float64)


def normalised(norm, x, gradient):
    """What comes out of a norm, forward and backward, after two batches of which one has a gradient."""
    norm(x + 1)
    x = x.clone().requires_grad_()
    y = norm(x)
    y.backward(gradient)
    names = {"y": y.detach(), "dx": x.grad, "dweight": norm.weight.grad, "dbias": norm.bias.grad}
    return names | norm.state_dict()


def norms():
    found = {}
    ends = [0, 2, 11] if distributed.world_size() == 2 else [0, 2, 3, 11]  # unequal shares, one of a single sample
    mine = slice(ends[distributed.rank()], ends[distributed.rank() + 1])
    for name, shape in SHAPES.items():
        norm, x, gradient = norm_case(shape)
        found |= {f"{name}/{key}": value for key, value in normalised(norm, x[mine], gradient[mine]).items()}
        found[f"{name}/evaluated"] = norm.eval()(x[mine]).detach()
    norm, x, gradient = norm_case(SHAPES["plane"])
    half = normalised(norm.float(), x[mine].bfloat16(), gradient[mine].bfloat16())
    return found | {f"half/{key}": value for key, value in half.items()}


def everything():
    work = {"steps": steps, "dropout": dropout, "norms": norms}
    return {f"{name}/{key}": value for name, do in work.items() for key, value in do().items()}


if __name__ == "__main__":
    with distributed.process_group(torch.device("cpu")):
        made = {name: value.contiguous() for name, value in everything().items()}
        save_file(made, Path(sys.argv[1]) / f"{distributed.rank()}.safetensors")
