"""A tiny pre-training as one rank: `python rank_fit.py STORE OUTPUT EVENT [SETTING...]`, for test_several.py.

EVENT is `none` or what happens to rank 1 in mid-step, `SIGTERM@4`, or `stuck@4`: it answers no more. All in float64:
in float32 a model this small makes of a last bit a third digit within six steps.
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
from pipeline import splits
from pipeline.store import Store
from trainer import loader, pretrain, ranks
from trainer.config import compose, preset
from trainer.method import Method

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)
store, output, event, *settings = sys.argv[1:]
what, _, when = event.partition("@")
load, plain, losses, calls = loader.load, ranks.joined, Method.losses, []
loader.load = lambda *arguments: load(*arguments).double()
ranks.joined = lambda device: plain(device, timedelta(seconds=100))


def interfere(*arguments):
    """The losses, which each step asks for once, after keys have moved and before anything is added up."""
    calls.append(1)
    if what != "none" and len(calls) == int(when) + 1:
        if what == "stuck":  # not from the start: processes may come up far apart
            _set_pg_timeout(timedelta(seconds=5))
        if ranks.rank() == 1:
            threading.Event().wait(90) if what == "stuck" else os.kill(os.getpid(), signal.Signals[what])
    return losses(*arguments)


Method.losses = interfere
opened = Store(Path(store))
request = pretrain.Request(
    store=opened,
    split=splits.find(opened, "xsub"),
    preset="quick",
    config=compose(preset("quick"), None, settings),
    output=Path(output),
    device=torch.device("cpu"),
)


@main.command()
def fit():
    click.echo(pretrain.fit(request, lambda tick: click.echo(tick.step)).outcome)


main(["fit"])
