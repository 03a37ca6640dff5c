"""NTU RGB+D file names and published facts: setups, performers, classes, splits, missing samples.

Sources: Shahroudy et al. 2016 (NTU RGB+D) and Liu et al. 2019 (NTU RGB+D 120) for setups, classes and split rules.
Counts and performers (`ntu_performers.txt`: a setup, then the performers recorded in it) are from CTR-GCN's lists of
available samples. `ntu_missing.txt` and `ntu_classes.txt` are the official lists from the data set's page
(shahroudy/NTURGB-D), one entry per line, without the prose.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import product
from typing import Self

_NAME = re.compile(r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})", re.ASCII)


@dataclass(frozen=True, order=True, slots=True)
class NtuName:
    """The five numbers of a sample's name, all from 1; instances sort like the names."""

    setup: int
    """Height and distance of the three cameras."""
    camera: int
    """Camera 1 sees every actor at 45 degrees, cameras 2 and 3 from the front or the side."""
    performer: int
    replication: int
    """1 facing the left camera, 2 facing the right one."""
    action: int

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """Parse a sample's name without suffix; None when it is no such name, or one of its numbers is 000."""
        match = _NAME.fullmatch(name)
        if match is None or "000" in match.groups():
            return None
        return cls(*map(int, match.groups()))

    def __str__(self) -> str:
        """The sample's name, 20 characters."""
        return f"S{self.setup:03d}C{self.camera:03d}P{self.performer:03d}R{self.replication:03d}A{self.action:03d}"

    @property
    def label(self) -> int:
        """The class, from 0."""
        return self.action - 1

    @property
    def was_captured(self) -> bool:
        """Whether the recording exists in the data set, from the performers and actions of each setup."""
        return (
            self.setup in NTU120.setups
            and self.camera in CAMERAS
            and self.performer in performers(self.setup)
            and self.replication in REPLICATIONS
            and self.action in actions(self.setup)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class NtuDataSet:
    """The facts in which NTU RGB+D 60 and 120 differ."""

    name: str
    setups: range
    classes: int
    performers: int
    captured: int
    """Recordings made, missing ones included."""
    missing: int
    """Entries of the official list of missing or incomplete skeletons that are in this data set."""
    xsub_train: frozenset[int]
    """Performers of the training side of the cross-subject split; the others are on the test side."""

    def contains(self, name: NtuName) -> bool:
        """Whether a sample belongs to this data set, which depends on its setup."""
        return name.setup in self.setups

    def names(self) -> Iterator[NtuName]:
        """Yield the names of all captured recordings, missing ones included, in order."""
        for setup in self.setups:
            numbers = product(CAMERAS, performers(setup), REPLICATIONS, actions(setup))
            yield from (NtuName(setup, *rest) for rest in numbers)


_XSUB_TRAIN_60 = frozenset({1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38})
_XSUB_TRAIN_120 = _XSUB_TRAIN_60 | {
    45, 46, 47, 49, 50, 52, 53, 54, 55, 56, 57, 58, 59, 70, 74, 78, 80, 81, 82, 83, 84, 85, 86, 89, 91, 92, 93, 94, 95,
    97, 98, 100, 103,
}  # fmt: skip

NTU60 = NtuDataSet(
    name="ntu60",
    setups=range(1, 18),
    classes=60,
    performers=40,
    captured=56_880,
    missing=302,
    xsub_train=_XSUB_TRAIN_60,
)
NTU120 = NtuDataSet(
    name="ntu120",
    setups=range(1, 33),
    classes=120,
    performers=106,
    captured=114_480,
    missing=535,
    xsub_train=_XSUB_TRAIN_120,
)

CAMERAS = (1, 2, 3)
REPLICATIONS = (1, 2)
XVIEW_TRAIN = frozenset({2, 3})
"""Cameras of the training side of the cross-view split; camera 1 is the test side."""
TWO_PERSON = frozenset(range(50, 61)) | frozenset(range(106, 121))
"""Numbers of the actions that involve two people."""


def is_xset_train(setup: int) -> bool:
    """Whether a setup is on the training side of the cross-setup split: even setups are."""
    return setup % 2 == 0


def performers(setup: int) -> tuple[int, ...]:
    """Return the performers recorded in a setup, each with all cameras, replications and actions of the setup."""
    return _performers()[setup]


def actions(setup: int) -> range:
    """Return the actions of a setup: the first 60 in the setups of NTU RGB+D 60, the others in those added by 120."""
    return range(1, 61) if setup in NTU60.setups else range(61, 121)


def captured(setup: int) -> int:
    """Return the number of recordings made in a setup, missing ones included."""
    return len(CAMERAS) * len(performers(setup)) * len(REPLICATIONS) * len(actions(setup))


@cache
def missing_names() -> frozenset[str]:
    """Return the names of the 535 samples whose skeletons are officially missing or incomplete."""
    return frozenset(_lines("ntu_missing.txt"))


@cache
def class_names() -> tuple[str, ...]:
    """Return the names of the 120 classes in the order of their labels."""
    return tuple(line.partition(" ")[2] for line in _lines("ntu_classes.txt"))


@cache
def _performers() -> dict[int, tuple[int, ...]]:
    numbers = (map(int, line.removeprefix("S").split()) for line in _lines("ntu_performers.txt"))
    return {first: tuple(rest) for first, *rest in numbers}


def _lines(file: str) -> list[str]:
    return resources.files("pipeline.sources.ntu").joinpath(file).read_text(encoding="utf-8").splitlines()
