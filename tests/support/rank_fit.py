"""Run a tiny pre-training as one rank: `python rank_fit.py STORE OUTPUT EVENT [SETTING...]`.

EVENT is `none`, or what happens to rank 1 in the middle of a step: `SIGTERM@4`, or `stuck@4` (it stops responding).
Everything is float64: in float32 this small model amplifies a difference in the last bit to the third digit within
six steps.
"""

import os
import signal
import sys
import threading
from datetime import timedelta
from pathlib import Path

import click
import torch
from torch.distributed.distributed_c10d import _set_pg_timeout

from cli import main
from pipeline.store.splits import find_split
from pipeline.store.store import Store
from trainer.config.presets import compose_pretrain, load_preset
from trainer.data import residency
from trainer.methods.method import Method
from trainer.pretrain.pretrain import PretrainRequest, pretrain
from trainer.runtime import distributed

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)
store, output, event, *settings = sys.argv[1:]
action, _, event_step = event.partition("@")
load, plain, losses, calls = residency.load_clips, distributed.process_group, Method.losses, []


def load_float64(*arguments):
    return load(*arguments).double()


residency.load_clips = load_float64
distributed.process_group = lambda device: plain(device, timedelta(seconds=100))


def interfere(*arguments):
    """Wrap the losses, which each step computes once, after the key update and before gradients are reduced."""
    calls.append(1)
    if action != "none" and len(calls) == int(event_step) + 1:
        if action == "stuck":  # not from the start: processes may start at very different times
            _set_pg_timeout(timedelta(seconds=5))
        if distributed.rank() == 1:
            threading.Event().wait(90) if action == "stuck" else os.kill(os.getpid(), signal.Signals[action])
    return losses(*arguments)


Method.losses = interfere
opened = Store(Path(store))
request = PretrainRequest(
    store=opened,
    split=find_split(opened, "xsub"),
    preset="quick",
    config=compose_pretrain(load_preset("quick"), None, settings),
    output=Path(output),
    device=torch.device("cpu"),
)


@main.command()
def fit():
    click.echo(pretrain(request, lambda tick: click.echo(tick.step)).outcome)


main(["fit"])
