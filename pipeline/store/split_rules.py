"""Split rules: official splits, splits that a data set defines itself, and lists from a split file."""

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
"""The columns that a split file can list; such a split is checked against its own lists, whatever its name."""
Condition = Mapping[str, Sequence[Any]]
"""Columns of a store with their permitted values; all columns must match."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Divides a store into train and test rows by the values of its columns."""

    name: str
    disjoint_column: str
    """The column whose values train and test must not share; empty if there is none. Stored as `separates`."""
    train: Condition
    test: Condition | None
    """None: all rows that are not in train."""


def _column_rule(name: str, column: str, train: Iterable[int], test: Iterable[int]) -> Rule:
    return Rule(name, column, {column: sorted(train)}, {column: sorted(test)})


# Shahroudy et al. 2016 (NTU RGB+D), section 4.1: cross-subject by performer (20 train, 20 test), cross-view by camera.
# Liu et al. 2019 (NTU RGB+D 120), section 3.3: cross-subject (53 and 53), cross-setup (even setups train).
# PKU-MMD: the lists of its authors, expressed as a rule (see sources/pku/names.py).
OFFICIAL_RULES: dict[str, tuple[Rule, ...]] = {
    "ntu60": (
        _column_rule("xsub", "subject", NTU60.xsub_train, set(range(1, NTU60.performers + 1)) - NTU60.xsub_train),
        _column_rule("xview", "camera", XVIEW_TRAIN, set(CAMERAS) - XVIEW_TRAIN),
    ),
    "ntu120": (
        _column_rule("xsub", "subject", NTU120.xsub_train, set(range(1, NTU120.performers + 1)) - NTU120.xsub_train),
        _column_rule("xset", "setup", filter(is_xset_train, NTU120.setups), filterfalse(is_xset_train, NTU120.setups)),
    ),
    **{
        pku.name: tuple(_column_rule(name, *rule) for name, rule in pku.rules.items())
        for pku in pku_names.DATA_SETS.values()
    },
}


ALL_CLIPS = Rule("all", "", {}, {"name": []})
"""All clips on the training side, to pre-train on data that cannot be divided; there is nothing to evaluate on."""


def available_rules(store: Store) -> dict[str, Rule]:
    """Return the splits that a store can have without a split file.

    These are the official ones or those of its skeleton.toml, and for data without any the split `all`.
    """
    if store.attributes["dataset"] in OFFICIAL_RULES:
        return {rule.name: rule for rule in OFFICIAL_RULES[store.attributes["dataset"]]}
    own: dict[str, Rule] = {}
    for name, sides in store.attributes["splits"].items():
        train, test = sides["train"], sides.get("test")
        own[name] = Rule(name, _single_column(train, test), train, test)
    return own or {ALL_CLIPS.name: ALL_CLIPS}


def _single_column(train: Condition, test: Condition | None) -> str:
    """Return the column of the conditions if there is only one, otherwise an empty string."""
    single = len(train) == 1 and (test is None or test.keys() == train.keys())
    return next(iter(train)) if single else ""


def split_name_from_file(split_file: Path) -> str:
    """Return the split name of a split file: `cross-subject.txt`, `cross_subject_v2.txt` are xsub, ...-view xview."""
    stem = split_file.stem.lower().replace("_", "-")
    return {"cross-subject": "xsub", "cross-view": "xview"}.get(stem.removesuffix("-v2"), split_file.stem)


def rule_from_lists(store: Store, split_file: Path, name: str, notes: list[str]) -> Rule:
    """Return the rule of a split file: the recordings (or clips) that it lists for each side."""
    lists = read_split_file(split_file)
    stored = {"recording": set(store.recordings), "name": set(store.names)}
    names = {*lists.train, *lists.test}
    column = max(stored, key=lambda column: len(names & stored[column]))
    if not names & stored[column]:
        raise ArtifactError(
            f"{split_file}: {store.path} has none of its {len(names)} names, such as {lists.train[0]}; "
            f"its names are like {store.recordings[0]}. Is it the list of another data set or phase?"
        )
    if absent := sorted(names - stored[column]):
        notes.append(f"{split_file}: {len(absent)} of {len(names)} names are not in the store, first {absent[0]}")
    if unlisted := sorted(stored[column] - names):
        notes.append(f"{split_file}: {len(unlisted)} {column}s of the store are in no list, first {unlisted[0]}")
    built_in = available_rules(store).get(name)
    disjoint_column = built_in.disjoint_column if built_in else column
    return Rule(name, disjoint_column, {column: lists.train}, {column: lists.test})


def split_document(store: Store, rule: Rule) -> dict[str, Any]:
    """Apply a rule; return the split as the document that is stored."""
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
    """Return (N,) whether each row meets a condition; integers are compared by value, however they are written."""
    holds = np.ones(len(store), np.bool_)
    for column, permitted in condition.items():
        values, inverse = np.unique(store.values(column), return_inverse=True)
        allowed = {_as_number(value) for value in permitted}
        holds &= np.array([_as_number(value) in allowed for value in values.tolist()], np.bool_)[inverse]
    return holds


def _as_number(value: Any) -> Any:
    """Return an integer if the text is one, otherwise the text: `1`, `01` and 1 are the same subject."""
    text = str(value).strip()
    return int(text) if text.removeprefix("-").isdecimal() else text


def expected_rule(path: Path, store: Store, plain: Mapping[str, Any]) -> Rule:
    """Return the rule that a stored split must follow: its own lists if from a file, otherwise the rule of its name.

    Raises:
        ArtifactError: it did not come from a file, and the data set has no rule of that name.
    """
    name, train, test = plain["name"], plain["rule"]["train"], plain["rule"].get("test")
    known = available_rules(store)
    if {*train, *(test or {})} <= LIST_COLUMNS:
        return Rule(name, known[name].disjoint_column if name in known else _single_column(train, test), train, test)
    if name not in known:
        raise ArtifactError(f"{path}: {store.attributes['dataset']} has no split {name!r}; {SPLIT.remedy}")
    return known[name]
