"""Clips of a store as a torch data set."""

from pathlib import Path
from typing import Final, Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pipeline.errors import ConfigError
from pipeline.store.batches import MAX_BODIES, fill_batch
from pipeline.store.splits import find_split
from pipeline.store.store import Store
from trainer.config.method import AugmentConfig, Stream
from trainer.data.augment import DRAWS_PER_VIEW, random_view
from trainer.data.streams import derive_stream

Side = Literal["train", "test", "all"]
MIN_FRAMES: Final = 1


class Clips(Dataset[tuple[Tensor, int]]):
    """Clips of a store with their classes, resized to one length; works with the workers of a `DataLoader`.

    `clips[i]` is a pair of x, (3, T, V, M) float32, and the class, an int. x has metres (joint, bone) or metres per
    frame (motion); missing joints and absent bodies are 0. The class is the number in the store, from 0 (NTU's A001 is
    0), or -1 if it is unknown.
    """

    def __init__(
        self,
        store: Store | Path | str,
        split: str | None = None,
        side: Side = "train",
        *,
        frames: int = 64,
        stream: Stream = "joint",
        bodies: int = MAX_BODIES,
        augment: bool | AugmentConfig = False,
    ) -> None:
        """Choose the clips; they are read when they are asked for.

        Args:
            store: a store, or its path.
            split: name or file of a split that has been built; default: the store's default split.
            side: its `train` or `test` clips, or `all` of both.
            frames: T, by linear interpolation in time.
            stream: `joint`, `motion` or `bone`.
            bodies: M; the most active bodies of each clip.
            augment: shift and shear each clip at random as in pre-training, with torch's random numbers: True for the
                usual amplitudes.

        Raises:
            ConfigError: a value is impossible, or there is no such split.
            ArtifactError: the store or the split is damaged.
        """
        if side not in get_args(Side):
            raise ConfigError(f"side {side!r}: expected one of {', '.join(get_args(Side))}")
        if stream not in get_args(Stream):
            raise ConfigError(f"stream {stream!r}: expected one of {', '.join(get_args(Stream))}")
        if frames < MIN_FRAMES:
            raise ConfigError(f"frames {frames}: must be at least {MIN_FRAMES}")
        if not 1 <= bodies <= MAX_BODIES:
            raise ConfigError(f"bodies {bodies}: must be from 1 to {MAX_BODIES}")
        self.store = store if isinstance(store, Store) else Store(store)
        self.split = find_split(self.store, split)
        self.side, self.frames, self.stream, self.bodies = side, frames, stream, bodies
        self.rows = self.split.side(side)
        """(N,) rows of the store."""
        self.labels = self.store.columns["label"][self.rows].astype(np.int64)
        """(N,) the classes."""
        self.augment = AugmentConfig() if augment is True else augment or None

    def __len__(self) -> int:
        """Number of clips, N."""
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return one clip and its class.

        Raises:
            IndexError: there is no such clip.
            ArtifactError: the store is damaged.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        x = torch.zeros(1, 3, self.frames, len(self.store.layout.joints), self.bodies)
        fill_batch(self.store, self.rows[[index]], x.numpy(), np.zeros(1, np.int64))
        if self.augment:
            x = random_view(x, torch.rand(1, DRAWS_PER_VIEW), self.augment)
        return derive_stream(x, self.stream, self.store.layout)[0], int(self.labels[index])

    @property
    def class_names(self) -> dict[int, str]:
        """The name of each class of the store that has one, by its number."""
        return {int(label): name for label, name in self.store.attributes["classes"].items()}

    def __repr__(self) -> str:
        shape = (3, self.frames, len(self.store.layout.joints), self.bodies)
        return f"Clips({self.store.path}, {self.split.name} {self.side}: {len(self)} clips of {shape}, {self.stream})"
