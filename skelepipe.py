"""skelepipe from Python: `import skelepipe as sp`.

    store = sp.ingest("ntu60", "raw")                # or sp.Store("processed/ntu60.zarr")
    sp.build_splits(store)
    clips = sp.Clips(store, split="xsub", side="train", frames=64)  # a torch Dataset of (x, class)
    run = sp.pretrain(store, preset="quick", epochs=5, progress=True)
    run.evaluate("knn", "linear")                    # a table, next to baselines
    run.encoder                                      # a torch Module

docs/api.md describes all functions.
"""

from pipeline.errors import SkelepipeError
from pipeline.store.store import Store
from trainer.api.clips import Clips
from trainer.api.commands import build_splits, ingest, pretrain
from trainer.api.trained_run import Evaluation, TrainedRun, load_run

__all__ = [
    "Clips",
    "Evaluation",
    "SkelepipeError",
    "Store",
    "TrainedRun",
    "build_splits",
    "ingest",
    "load_run",
    "pretrain",
]
