"""What a PKU-MMD file name says, and what is known of the two phases: videos, classes, splits.

Sources: Liu et al. 2017 (PKU-MMD, arXiv 1703.07475) for views, classes and counts; the data set's Actions.xlsx for the
classes' numbers; its split lists (cross-subject.txt, cross-view.txt and their _v2) for who tests; which videos do not
exist as counted over the published archives (1,076 and 1,009 files).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

VIEWS = "LMR"
"""Left, middle and right camera; their places, from 1, are the cameras' numbers."""

_PATTERNS = (re.compile(r"(\d{4})-([LMR])", re.ASCII), re.compile(r"A(\d\d)N(\d\d)-([LMR])", re.ASCII))


@dataclass(frozen=True, order=True, slots=True)
class PkuName:
    """What the name of a video says; names sort as they are written."""

    setup: int
    """The take of phase I, 0002..0364; the script of phase II, A01..A26, from which its actors played."""
    subject: int
    """The actor of phase II, N01..N13; -1 in phase I, which does not say."""
    camera: int
    """1 left, 2 middle, 3 right."""

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """Read a video's name without suffix, in capitals or not; None when it is not one."""
        for pattern in _PATTERNS:
            if match := pattern.fullmatch(name.upper()):
                *numbers, view = match.groups()
                setup, subject = (*map(int, numbers), -1)[:2]
                return cls(setup, subject, VIEWS.index(view) + 1)
        return None

    def __str__(self) -> str:
        """The name as the data set writes it, such as 0002-L or A01N01-L."""
        take = f"{self.setup:04d}" if self.subject < 0 else f"A{self.setup:02d}N{self.subject:02d}"
        return f"{take}-{VIEWS[self.camera - 1]}"


class SplitRule(NamedTuple):
    """How a split divides the videos: by the value of one column."""

    separates: str
    train: frozenset[int]
    test: frozenset[int]


@dataclass(frozen=True, kw_only=True, slots=True)
class PkuDataSet:
    """The facts that tell the two phases apart."""

    name: str
    example: str
    setups: frozenset[int]
    subjects: tuple[int, ...]
    lacking: frozenset[str]
    """Videos that were never released."""
    one_view_short: int
    """A take of which one view, sources do not say which, was never released, either; 0 when there is none."""
    actions: int
    """Annotated actions in a typical video."""
    rules: Mapping[str, SplitRule]

    def holds(self, name: PkuName) -> bool:
        """Whether a video is of this phase: the form of its name decides."""
        return (name.subject < 0) == (self.subjects == (-1,))

    def released(self) -> Iterator[PkuName]:
        """All videos of the phase, in order of name; all views of the take that is short of one."""
        for setup in sorted(self.setups):
            for subject in self.subjects:
                for camera in range(1, len(VIEWS) + 1):
                    name = PkuName(setup, subject, camera)
                    if str(name) not in self.lacking:
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
    lacking=frozenset(),
    one_view_short=60,
    actions=20,
    rules={"xsub": SplitRule("setup", frozenset(range(1, 365)) - _TEST_TAKES, _TEST_TAKES), "xview": _XVIEW},
)
PKU2 = PkuDataSet(
    name="pku2",
    example="A01N01-L.txt",
    setups=frozenset(range(1, 27)),
    subjects=tuple(range(1, 14)),
    lacking=frozenset({"A05N04-M", "A07N12-M", "A08N12-M", "A14N12-M", "A20N01-M"}),
    one_view_short=0,
    actions=7,
    rules={"xsub": SplitRule("subject", frozenset(range(1, 14)) - _TEST_SUBJECTS, _TEST_SUBJECTS), "xview": _XVIEW},
)
DATA_SETS = {facts.name: facts for facts in (PKU1, PKU2)}

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
"""The 51 classes; the place, from 0, is the label, one less than the number in the label files."""

INTERACTIONS = frozenset({12, 14, 16, 18, 21, 24, 26, 27, 29, 38})
"""Numbers of the classes between two people; phase II has the other 41."""
