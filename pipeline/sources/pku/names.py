"""PKU-MMD file names, and the published facts of both phases: videos, classes, splits.

Sources: Liu et al. 2017 (PKU-MMD, arXiv 1703.07475) for cameras, classes and counts; the data set's Actions.xlsx for
the classes' numbers; its split lists (cross-subject.txt, cross-view.txt and their _v2) for the test sides; the
published archives (1,076 and 1,009 files) for the videos that do not exist.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

CAMERA_LETTERS = "LMR"
"""Left, middle and right camera; the cameras are numbered from 1 in this order."""

_NAMES = (re.compile(r"(\d{4})-([LMR])", re.ASCII), re.compile(r"A(\d\d)N(\d\d)-([LMR])", re.ASCII))


@dataclass(frozen=True, order=True, slots=True)
class PkuName:
    """The numbers in the name of a video; instances sort like the names."""

    setup: int
    """The take in phase I, 0002..0364; the script that the actors followed in phase II, A01..A26."""
    subject: int
    """The actor in phase II, N01..N13; -1 in phase I, whose names do not have it."""
    camera: int
    """1 left, 2 middle, 3 right."""

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """Parse a video's name without suffix, in upper or lower case; None when it is no such name."""
        for pattern in _NAMES:
            if match := pattern.fullmatch(name.upper()):
                *numbers, camera = match.groups()
                setup, subject = (*map(int, numbers), -1)[:2]
                return cls(setup, subject, CAMERA_LETTERS.index(camera) + 1)
        return None

    def __str__(self) -> str:
        """The video's name, such as 0002-L or A01N01-L."""
        take = f"{self.setup:04d}" if self.subject < 0 else f"A{self.setup:02d}N{self.subject:02d}"
        return f"{take}-{CAMERA_LETTERS[self.camera - 1]}"


class SplitRule(NamedTuple):
    """How a split divides the videos: by the values of one column."""

    column: str
    train: frozenset[int]
    test: frozenset[int]


@dataclass(frozen=True, kw_only=True, slots=True)
class PkuDataSet:
    """The facts in which the two phases differ."""

    name: str
    example: str
    setups: frozenset[int]
    subjects: tuple[int, ...]
    never_released: frozenset[str]
    """Names of the videos that were never released."""
    incomplete_take: int
    """A take of which one more video was never released, it is not known from which camera; 0 when there is none."""
    actions: int
    """Annotated actions in a typical video."""
    rules: Mapping[str, SplitRule]
    """The published splits by name."""

    def contains(self, name: PkuName) -> bool:
        """Whether a video belongs to this phase, which the form of its name shows."""
        return (name.subject < 0) == (self.subjects == (-1,))

    def released(self) -> Iterator[PkuName]:
        """Yield the names of the phase's videos in order, with all cameras of the incomplete take."""
        for setup in sorted(self.setups):
            for subject in self.subjects:
                for camera in range(1, len(CAMERA_LETTERS) + 1):
                    name = PkuName(setup, subject, camera)
                    if str(name) not in self.never_released:
                        yield name


_XVIEW = SplitRule("camera", frozenset({2, 3}), frozenset({1}))
_TEST_TAKES = frozenset(range(291, 335))
_TEST_SUBJECTS = frozenset({2, 3, 7})
_TAKES = frozenset(range(2, 365)) - frozenset(range(247, 251))

PKU1 = PkuDataSet(
    name="pku1",
    example="0002-L.txt",
    setups=_TAKES,
    subjects=(-1,),
    never_released=frozenset(),
    incomplete_take=60,
    actions=20,
    rules={"xsub": SplitRule("setup", frozenset(range(1, 365)) - _TEST_TAKES, _TEST_TAKES), "xview": _XVIEW},
)
PKU2 = PkuDataSet(
    name="pku2",
    example="A01N01-L.txt",
    setups=frozenset(range(1, 27)),
    subjects=tuple(range(1, 14)),
    never_released=frozenset({"A05N04-M", "A07N12-M", "A08N12-M", "A14N12-M", "A20N01-M"}),
    incomplete_take=0,
    actions=7,
    rules={"xsub": SplitRule("subject", frozenset(range(1, 14)) - _TEST_SUBJECTS, _TEST_SUBJECTS), "xview": _XVIEW},
)
DATA_SETS = {data_set.name: data_set for data_set in (PKU1, PKU2)}

CLASSES = (
    "bow", "brush hair", "brush teeth", "check time", "cheer up", "clap", "cross hands in front", "drink", "drop",
    "eat", "fall", "give something to the other", "wave", "shake hands", "hop", "hug the other", "jump up",
    "kick the other", "kick something", "phone call", "pat the other's back", "pick up", "play with phone",
    "point at the other", "point at something", "punch or slap the other", "push the other", "put on hat",
    "put something into pocket", "read", "rub hands", "salute", "sit down", "stand up", "take off hat",
    "take off glasses", "take off jacket", "take something out of pocket", "take a selfie", "tear up paper", "throw",
    "touch back", "touch chest", "touch head", "touch neck", "type", "fan oneself", "put on jacket", "put on glasses",
    "wipe face", "write",
)  # fmt: skip
"""The 51 classes in the order of their labels, from 0; label files number them from 1."""

INTERACTIONS = frozenset({12, 14, 16, 18, 21, 24, 26, 27, 29, 38})
"""Numbers (from 1) of the classes that involve two people; phase II has only the other 41 classes."""
