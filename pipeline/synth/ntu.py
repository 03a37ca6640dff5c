"""Write synthetic NTU RGB+D recordings in the exact format of the data sets, for the demo, tests and benchmarks.

Coverage: clips come in blocks of 24 of the same class. The first two blocks alternate, so that even a tiny set has two
classes; after the last class the first follows again. N clips thus have min(60, max(2, ceil(N / 24))) of 60 classes,
the last one perhaps with few clips. Every fifth class, starting with the third, has two people. NTU-120 alternates
between its old and its new classes. Within a class, the clips alternate between train and test performers of the
cross-subject split and cycle through the three cameras, so that two clips of a class give rows on both sides of
cross-subject and cross-view. A whole block has 12 performers of each side, 8 clips per camera and 12 per replication,
or one less where an officially missing name is skipped. Names are the same for every seed.

Each file is a function of the seed and its own number, so a longer set starts with the shorter one. The bytes are
reproducible on one machine with one numpy version; elsewhere a sine can differ in its last bit, and rarely a seventh
digit with it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import ConfigError
from pipeline.files.atomic import new_folder
from pipeline.sources.ntu.names import CAMERAS, NTU60, NTU120, TWO_PERSON, NtuName, missing_names
from pipeline.synth.motion import draw_person, perform
from pipeline.synth.ntu_damage import DAMAGE, damage
from pipeline.synth.realistic import draw_length, draw_realistic_person, perform_realistically, realistic_roles
from pipeline.synth.roles import gap, roles
from pipeline.synth.sensor import project, sense, skeleton_text
from pipeline.synth.summary import SynthSummary

SUFFIX = ".skeleton"
BLOCK = 24
"""Consecutive clips of one class: two for each side of the cross-subject split, camera and replication."""

# Purpose of a random stream: the first word after the seed.
_CLIP, _PERFORMER, _PARTNER, _BROKEN = range(4)


@dataclass(frozen=True, slots=True)
class _Cast:
    """Actions, setups and performers of one of the two data sets, in the order in which growing sets use them."""

    actions: tuple[int, ...]
    setups: range
    train: tuple[int, ...]
    """20 train performers of the cross-subject split."""
    test: tuple[int, ...]

    @property
    def reserved(self) -> int:
        """Number of names per class that are reserved for broken files: one round of the setups."""
        return (len(self.train) + len(self.test)) * len(CAMERAS) * 2

    @property
    def name_count(self) -> int:
        """Number of names that one class can have."""
        return len(self.setups) * self.reserved


def _cast(first: int, last: int, setups: range, train: frozenset[int], performers: range) -> _Cast:
    """Build the cast of classes first..last, with 20 performers on either side of the split."""
    actions = [action for action in range(first, last + 1) if action not in TWO_PERSON]
    for number, action in enumerate(sorted(TWO_PERSON & set(range(first, last + 1)))):
        actions.insert(5 * number + 2, action)
    train_performers = [performer for performer in performers if performer in train][:20]
    test_performers = [performer for performer in performers if performer not in train][:20]
    return _Cast(tuple(actions), setups, tuple(train_performers), tuple(test_performers))


_OLD = _cast(1, 60, NTU60.setups, NTU60.xsub_train, range(1, NTU60.performers + 1))
_NEW = _cast(61, 120, range(18, 33), NTU120.xsub_train, range(NTU60.performers + 1, NTU120.performers + 1))
_CASTS = {"ntu60": (_OLD,), "ntu120": (_OLD, _NEW)}


def write_ntu(
    dataset: str, out: Path, *, clips: int, seed: int, broken: int = 0, realistic: bool = False
) -> SynthSummary:
    """Write a synthetic NTU RGB+D data set into a new folder, which appears whole or not at all.

    Args:
        dataset: `ntu60` or `ntu120`.
        out: the folder; if it exists, it must be empty.
        clips: number of usable recordings.
        seed: determines performers and motion; not negative.
        broken: number of additional recordings that no correct reader accepts, with the kinds of `DAMAGE` in turn.
        realistic: make the classes as hard to distinguish as those of real data; otherwise they are easy, for tests.

    Raises:
        ConfigError: a number is out of range.
        OutputExists: `out` exists and is not empty.
        OutputFailed: the disk refuses.
    """
    good_names, broken_names = plan(clips, dataset), plan_broken(broken, dataset)
    if seed < 0:
        raise ConfigError(f"seed {seed}: must not be negative")
    total_bytes = 0
    damage_kinds: dict[str, str] = {}
    with new_folder(out) as folder:
        for index, name in enumerate(good_names):
            total_bytes += (folder / f"{name}{SUFFIX}").write_bytes(_recording(name, seed, _CLIP, index, realistic))
        for index, name in enumerate(broken_names):
            kind = list(DAMAGE)[index % len(DAMAGE)]
            good = _recording(name, seed, _BROKEN, index, realistic)
            text = damage(kind, good, np.random.default_rng([seed, _BROKEN, index, 1]))
            total_bytes += (folder / f"{name}{SUFFIX}").write_bytes(text)
            damage_kinds[str(name)] = kind
    return SynthSummary(
        files=len(good_names) + len(broken_names),
        broken=damage_kinds,
        classes=tuple(sorted({name.label for name in good_names})),
        performers=tuple(sorted({name.performer for name in good_names})),
        bytes=total_bytes,
    )


def plan(clips: int, dataset: str = "ntu60") -> list[NtuName]:
    """Return the names of the good clips in the order of their numbers; the module docstring explains the rule.

    Raises:
        ConfigError: `clips` is less than 1, or more than the number of names.
    """
    if clips < 1:
        raise ConfigError(f"clips {clips}: must be at least 1")
    sources = [
        _names(cast, class_index, range(cast.name_count - cast.reserved)) for cast, class_index in _classes(dataset)
    ]
    names = []
    for index in range(clips):
        name = next(sources[_class_of_clip(index, len(sources))], None)
        if name is None:
            raise ConfigError(f"clips {clips}: a synthetic {dataset} has names for at most {index} clips")
        names.append(name)
    return names


def plan_broken(broken: int, dataset: str = "ntu60") -> list[NtuName]:
    """Return the names of the broken files in the order of their numbers; good clips never have these names.

    Raises:
        ConfigError: `broken` is negative, or more than the number of names.
    """
    classes = _classes(dataset)
    limit = 100 * len(classes)
    if not 0 <= broken <= limit:
        raise ConfigError(f"broken {broken}: must be from 0 to {limit}")
    sources = [
        _names(cast, class_index, range(cast.name_count - cast.reserved, cast.name_count))
        for cast, class_index in classes
    ]
    return [next(sources[index % len(sources)]) for index in range(broken)]


def _classes(dataset: str) -> list[tuple[_Cast, int]]:
    """List the classes in the order in which growing sets use them: a cast and an index into its actions."""
    casts = _CASTS[dataset]
    return [(cast, index) for index in range(len(casts[0].actions)) for cast in casts]


def _class_of_clip(index: int, classes: int) -> int:
    """Return the class of clip number `index`, as an index into `_classes`."""
    block = index // BLOCK % classes
    return index % 2 if block < 2 else block


def _names(cast: _Cast, class_index: int, numbers: range) -> Iterator[NtuName]:
    """Yield the names of one class; each number gives a different name."""
    for number in numbers:
        half, side = divmod(number, 2)
        # Train and test performers advance together, with different cameras: train starts with 2, test with 1.
        camera = ((2, 3, 1) if side == 0 else (1, 2, 3))[half % len(CAMERAS)]
        # 3 cameras, 2 replications and 20 performers have a period of 60; then a shift by one gives new names.
        performer = (cast.train, cast.test)[side][(BLOCK // 2 * class_index + half + half // 60) % 20]
        setup = cast.setups[(performer + half // 120) % len(cast.setups)]
        name = NtuName(setup, camera, performer, 1 + half // len(CAMERAS) % 2, cast.actions[class_index])
        if str(name) not in missing_names():
            yield name


def _recording(name: NtuName, seed: int, purpose: int, index: int, realistic: bool = False) -> bytes:
    """Return the text of one performance of an action, as the named camera records it."""
    rng = np.random.default_rng([seed, purpose, index])
    people = [np.random.default_rng([seed, stream, name.performer]) for stream in (_PERFORMER, _PARTNER)]
    if realistic:
        frames = draw_length(rng)
        actors = [
            perform_realistically(role, draw_realistic_person(person), frames, rng)
            for role, person in zip(realistic_roles(name.action), people, strict=False)
        ]
    else:
        frames = int(rng.integers(60, 111))
        actors = [
            perform(role, draw_person(person), frames, rng)
            for role, person in zip(roles(name.action), people, strict=False)
        ]
    return skeleton_text(sense(project(actors, gap(name.action), name, rng), rng, smoothed=realistic))
