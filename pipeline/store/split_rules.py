"""How a store may be divided: the official splits as rules, those that a data set brings, and lists out of a file."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import filterfalse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts import manifest
from pipeline.artifacts.schemas import SPLIT
from pipeline.errors import ArtifactError
from pipeline.sources.ntu.names import CAMERAS, NTU60, NTU120, XVIEW_TRAIN, is_xset_train
from pipeline.sources.pku import names as pku_names
from pipeline.store.split_file import read_split_file
from pipeline.store.store import Store

LIST_COLUMNS = {"recording", "name"}
"""The columns by which a split file divides; the lists are the user's, whatever the split is called."""
Condition = Mapping[str, Sequence[Any]]
"""Columns of a store and the values that they may have; all must hold."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How a split divides a store: by the values of its columns."""

    name: str
    disjoint_column: str
    """The column whose values train and test must not share; empty when there is none."""
    train: Condition
    test: Condition | None
    """None: whatever does not train."""


def _by(name: str, column: str, train: Iterable[int], test: Iterable[int]) -> Rule:
    return Rule(name, column, {column: sorted(train)}, {column: sorted(test)})


# Shahroudy et al. 2016 (NTU RGB+D), section 4.1: cross-subject by performer (20 train, 20 test), cross-view by camera.
# Liu et al. 2019 (NTU RGB+D 120), section 3.3: cross-subject (53 and 53), cross-setup (even setups train).
# PKU-MMD: the lists of its authors, as a rule (see pku_names).
OFFICIAL_RULES: dict[str, tuple[Rule, ...]] = {
    "ntu60": (
        _by("xsub", "subject", NTU60.xsub_train, set(range(1, NTU60.performers + 1)) - NTU60.xsub_train),
        _by("xview", "camera", XVIEW_TRAIN, set(CAMERAS) - XVIEW_TRAIN),
    ),
    "ntu120": (
        _by("xsub", "subject", NTU120.xsub_train, set(range(1, NTU120.performers + 1)) - NTU120.xsub_train),
        _by("xset", "setup", filter(is_xset_train, NTU120.setups), filterfalse(is_xset_train, NTU120.setups)),
    ),
    **{pku.name: tuple(_by(name, *rule) for name, rule in pku.rules.items()) for pku in pku_names.DATA_SETS.values()},
}


def available_rules(store: Store) -> dict[str, Rule]:
    """The splits that a store can have without a split file: its data set's official ones, or those it brought."""
    if store.attributes["dataset"] in OFFICIAL_RULES:
        return {rule.name: rule for rule in OFFICIAL_RULES[store.attributes["dataset"]]}
    brought: dict[str, Rule] = {}
    for name, sides in store.attributes["splits"].items():
        train, test = sides["train"], sides.get("test")
        brought[name] = Rule(name, _separated(train, test), train, test)
    return brought


def _separated(train: Condition, test: Condition | None) -> str:
    """The column that divides, when it is one; empty when several do together."""
    single = len(train) == 1 and (test is None or test.keys() == train.keys())
    return next(iter(train)) if single else ""


def split_name_from_file(split_file: Path) -> str:
    """What the split in a file is called: `cross-subject.txt` and `cross_subject_v2.txt` hold xsub, ...-view xview."""
    stem = split_file.stem.lower().replace("_", "-")
    return {"cross-subject": "xsub", "cross-view": "xview"}.get(stem.removesuffix("-v2"), split_file.stem)


def rule_from_lists(store: Store, split_file: Path, name: str, notes: list[str]) -> Rule:
    """A rule that takes the recordings (or clips) that a file lists for either side."""
    lists = read_split_file(split_file)
    there = {"recording": set(store.recordings), "name": set(store.names)}
    listed = {*lists.train, *lists.test}
    column = max(there, key=lambda column: len(listed & there[column]))
    if not listed & there[column]:
        raise ArtifactError(
            f"{split_file}: {store.path} has none of its {len(listed)} names, such as {lists.train[0]}, but names like "
            f"{store.recordings[0]}; is it the list of another data set or phase?"
        )
    if absent := sorted(listed - there[column]):
        notes.append(f"{split_file}: {len(absent)} of {len(listed)} names are not in the store, first {absent[0]}")
    if unlisted := sorted(there[column] - listed):
        notes.append(f"{split_file}: {len(unlisted)} {column}s of the store are in no list, first {unlisted[0]}")
    built_in = available_rules(store).get(name)
    disjoint_column = built_in.disjoint_column if built_in else column
    return Rule(name, disjoint_column, {column: lists.train}, {column: lists.test})


def split_document(store: Store, rule: Rule) -> dict[str, Any]:
    """The document of one split."""
    train = _holds(store, rule.train)
    test = ~train if rule.test is None else _holds(store, rule.test)
    return {
        "tool": manifest.tool_version(),
        "name": rule.name,
        "store": {
            "name": store.name,
            "dataset": store.attributes["dataset"],
            "digest": store.digest,
            "clips": len(store),
        },
        "separates": rule.disjoint_column,
        "rule": {"train": rule.train, "test": rule.test},
        "train": np.flatnonzero(train).tolist(),
        "test": np.flatnonzero(test).tolist(),
    }


def _holds(store: Store, condition: Condition) -> NDArray[np.bool_]:
    """(N,) the rows for which all of a condition holds; whole numbers are equal however they are written."""
    holds = np.ones(len(store), np.bool_)
    for column, wanted in condition.items():
        values, places = np.unique(store.values(column), return_inverse=True)
        plain = {_plain(value) for value in wanted}
        holds &= np.array([_plain(value) in plain for value in values.tolist()], np.bool_)[places]
    return holds


def _plain(value: Any) -> Any:
    """A whole number where a text is one, else the text: `1`, `01` and 1 are the same subject."""
    text = str(value).strip()
    return int(text) if text.removeprefix("-").isdecimal() else text


def expected_rule(path: Path, store: Store, plain: Mapping[str, Any]) -> Rule:
    """What a split must be like: by the rule of its name, unless a file listed its clips, then by these lists.

    Raises:
        ArtifactError: its clips are not listed, and the data set has no rule of its name.
    """
    name, train, test = plain["name"], plain["rule"]["train"], plain["rule"].get("test")
    known = available_rules(store)
    if {*train, *(test or {})} <= LIST_COLUMNS:
        return Rule(name, known[name].disjoint_column if name in known else _separated(train, test), train, test)
    if name not in known:
        raise ArtifactError(f"{path}: {store.attributes['dataset']} has no split {name!r}; {SPLIT.remedy}")
    return known[name]
