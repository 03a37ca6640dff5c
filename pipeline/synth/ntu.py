"""Synthetic NTU RGB+D recordings in the data sets' exact grammar, for the demo, tests and benchmarks.

Coverage. Clips come in blocks of 24, a class a block (the first two blocks take turns, so that even a tiny set has two
classes); after the last class the first comes round again. So N clips of 60 classes hold min(60, max(2, ceil(N / 24)))
of them, the last perhaps with few clips; every fifth class, from the third on, is between two people; NTU-120 takes up
its old and its new classes in turn. Within a class the clips alternate between performers who train and who test in the
cross-subject split and go round the three cameras, so that two clips of a class already give both cross-subject and
both cross-view rows; a whole block has 12 performers of either kind, 8 clips a camera, 12 a replication, give or take
one where an officially missing name is passed over. Names are the same for every seed.

Every file is a function of (seed, its own number), so a longer set begins with the shorter one. Bytes repeat on one
machine and one numpy; elsewhere a sine may differ in its last bit and, rarely, a seventh digit with it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import ConfigError
from pipeline.files.atomic import new_folder
from pipeline.sources.ntu.names import CAMERAS, NTU60, NTU120, TWO_PERSON, NtuName, missing_names
from pipeline.synth.motion import draw_person, gap, perform, roles
from pipeline.synth.ntu_damage import DAMAGE, damage
from pipeline.synth.sensor import sense, skeleton_text, view
from pipeline.synth.summary import SynthSummary

SUFFIX = ".skeleton"
BLOCK = 24
"""Clips of one class in a row: two for each side of the cross-subject split, camera and replication."""

# What a random number is for: the first word after the seed.
_CLIP, _PERFORMER, _PARTNER, _BROKEN = range(4)


@dataclass(frozen=True, slots=True)
class _Cast:
    """Who does what where in one of the two rounds of recording, in the order in which growing sets take it up."""

    actions: tuple[int, ...]
    setups: range
    train: tuple[int, ...]
    """20 performers who train in the cross-subject split."""
    test: tuple[int, ...]

    @property
    def spare(self) -> int:
        """Names of each class that never go to a good clip: one whole round of setups."""
        return (len(self.train) + len(self.test)) * len(CAMERAS) * 2

    @property
    def takes(self) -> int:
        """Names that one class can have."""
        return len(self.setups) * self.spare


def _cast(first: int, last: int, setups: range, train: frozenset[int], performers: range) -> _Cast:
    """The cast of classes first..last; 20 of the performers on either side."""
    actions = [action for action in range(first, last + 1) if action not in TWO_PERSON]
    for number, action in enumerate(sorted(TWO_PERSON & set(range(first, last + 1)))):
        actions.insert(5 * number + 2, action)
    trains = [performer for performer in performers if performer in train][:20]
    tests = [performer for performer in performers if performer not in train][:20]
    return _Cast(tuple(actions), setups, tuple(trains), tuple(tests))


_OLD = _cast(1, 60, NTU60.setups, NTU60.xsub_train, range(1, NTU60.performers + 1))
_NEW = _cast(61, 120, range(18, 33), NTU120.xsub_train, range(NTU60.performers + 1, NTU120.performers + 1))
_CASTS = {"ntu60": (_OLD,), "ntu120": (_OLD, _NEW)}


def write_ntu(dataset: str, out: Path, *, clips: int, seed: int, broken: int = 0) -> SynthSummary:
    """Write a synthetic NTU RGB+D into a new folder, all of it or nothing.

    Args:
        dataset: `ntu60` or `ntu120`.
        out: the folder; may be there if it is empty.
        clips: how many usable recordings.
        seed: which performers and performances; not negative.
        broken: how many recordings more that no correct reader accepts, each damaged in another of `DAMAGE`'s ways.

    Raises:
        ConfigError: a number out of range.
        OutputExists: `out` holds something already.
        OutputFailed: the disk refuses.
    """
    planned, damaged = plan(clips, dataset), plan_broken(broken, dataset)
    if seed < 0:
        raise ConfigError(f"seed {seed}: must not be negative")
    sizes = 0
    wrong: dict[str, str] = {}
    with new_folder(out) as folder:
        for index, name in enumerate(planned):
            sizes += (folder / f"{name}{SUFFIX}").write_bytes(_recording(name, seed, _CLIP, index))
        for index, name in enumerate(damaged):
            kind = list(DAMAGE)[index % len(DAMAGE)]
            good = _recording(name, seed, _BROKEN, index)
            text = damage(kind, good, np.random.default_rng([seed, _BROKEN, index, 1]))
            sizes += (folder / f"{name}{SUFFIX}").write_bytes(text)
            wrong[str(name)] = kind
    return SynthSummary(
        files=len(planned) + len(damaged),
        broken=wrong,
        classes=tuple(sorted({name.label for name in planned})),
        performers=tuple(sorted({name.performer for name in planned})),
        bytes=sizes,
    )


def plan(clips: int, dataset: str = "ntu60") -> list[NtuName]:
    """Names of the good clips in the order of their numbers; see the module's text for the rule.

    Raises:
        ConfigError: none, or more than the data set has names for.
    """
    if clips < 1:
        raise ConfigError(f"clips {clips}: a set has at least one")
    sources = [_names(cast, place, range(cast.takes - cast.spare)) for cast, place in _classes(dataset)]
    names = []
    for index in range(clips):
        name = next(sources[_place(index, len(sources))], None)
        if name is None:
            raise ConfigError(f"clips {clips}: there are names for no more than {index} clips of a synthetic {dataset}")
        names.append(name)
    return names


def plan_broken(broken: int, dataset: str = "ntu60") -> list[NtuName]:
    """Names of the broken files in the order of their numbers; none is ever the name of a good clip.

    Raises:
        ConfigError: fewer than none, or more than there are names for.
    """
    classes = _classes(dataset)
    limit = 100 * len(classes)
    if not 0 <= broken <= limit:
        raise ConfigError(f"broken {broken}: must be from 0 to {limit}")
    sources = [_names(cast, place, range(cast.takes - cast.spare, cast.takes)) for cast, place in classes]
    return [next(sources[index % len(sources)]) for index in range(broken)]


def _classes(dataset: str) -> list[tuple[_Cast, int]]:
    """The classes of a data set in the order in which growing sets take them up: a cast and a place in its actions."""
    casts = _CASTS[dataset]
    return [(cast, place) for place in range(len(casts[0].actions)) for cast in casts]


def _place(index: int, classes: int) -> int:
    """Which class, as a place in `_classes`, clip number `index` shows."""
    block = index // BLOCK % classes
    return index % 2 if block < 2 else block


def _names(cast: _Cast, place: int, takes: range) -> Iterator[NtuName]:
    """Names of one class, clip by clip; each take is another name."""
    for take in takes:
        half, side = divmod(take, 2)
        # Training and test performers walk in step, each with another camera: training starts in 2, test in 1.
        camera = ((2, 3, 1) if side == 0 else (1, 2, 3))[half % len(CAMERAS)]
        # 60 takes are the period of 3 cameras, 2 replications and 20 performers; one step aside makes the next 60 new.
        performer = (cast.train, cast.test)[side][(BLOCK // 2 * place + half + half // 60) % 20]
        setup = cast.setups[(performer + half // 120) % len(cast.setups)]
        name = NtuName(setup, camera, performer, 1 + half // len(CAMERAS) % 2, cast.actions[place])
        if str(name) not in missing_names():
            yield name


def _recording(name: NtuName, seed: int, purpose: int, index: int) -> bytes:
    """One performance of an action by a performer, as the named camera records it."""
    rng = np.random.default_rng([seed, purpose, index])
    frames = int(rng.integers(60, 111))
    actors = [
        perform(role, draw_person(np.random.default_rng([seed, who, name.performer])), frames, rng)
        for role, who in zip(roles(name.action), (_PERFORMER, _PARTNER), strict=False)
    ]
    return skeleton_text(sense(view(actors, gap(name.action), name, rng), rng))
