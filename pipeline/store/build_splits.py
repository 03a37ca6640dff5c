"""Build train/test splits and labelled subsets of a store."""

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts import manifest
from pipeline.artifacts.paths import SUBSET_MARK
from pipeline.artifacts.paths import splits_folder as folder
from pipeline.artifacts.schemas import SPLIT, SUBSET
from pipeline.errors import ArtifactError, ConfigError
from pipeline.files import atomic
from pipeline.files.locks import sole_writer
from pipeline.files.text_paths import accept_text_paths
from pipeline.store import split_rules
from pipeline.store.split_rules import Rule, available_rules, split_document
from pipeline.store.splits import Rows, Split, Subset, load_split, load_subset, require_disjoint, validated_rows
from pipeline.store.store import Store
from pipeline.suggest import did_you_mean


@dataclass(frozen=True, kw_only=True, slots=True)
class BuiltSplits:
    """The splits and subsets that `build_splits` wrote, and those that it could not build."""

    splits: list[Split]
    subsets: list[Subset]
    skipped: list[str]
    notes: list[str]
    """Observations that are not errors, such as listed names that the store does not have."""


@accept_text_paths
def build_splits(
    store: Store,
    names: Iterable[str] = (),
    fractions: Iterable[float] = (),
    seeds: Iterable[int] = (0,),
    split_file: Path | None = None,
) -> BuiltSplits:
    """Write splits of a store (all possible ones by default) and labelled subsets of their training rows.

    Args:
        store: the store to split.
        names: the splits to build; with a split file at most one, the name for its split.
        fractions: fractions of the training rows for labelled subsets, each in (0, 1].
        seeds: random seeds; each gives one subset of every fraction.
        split_file: lists of training and test recordings, used instead of the built-in rule.

    Raises:
        ConfigError: no such split for this data set, or a fraction outside (0, 1].
        ArtifactError: a named split, or every split, would have no training or no test rows, or a split would leak,
            or a split file lists nothing in the store.
        SkelepipeError: the split file cannot be used.
        OutputFailed: the disk cannot be written.
    """
    built = BuiltSplits(splits=[], subsets=[], skipped=[], notes=[])
    known, asked = _chosen_rules(store, list(dict.fromkeys(names)), split_file, built.notes)
    fractions = sorted(set(fractions))
    for fraction in fractions:
        if not 0 < fraction <= 1:
            raise ConfigError(f"label fraction {fraction} is not in (0, 1]; 0.01 is one per cent")
    with sole_writer(folder(store.path)):
        atomic.remove_partials(folder(store.path))
        for name in asked or known:
            split = split_document(store, known[name])
            if not len(split["train"]) or (not len(split["test"]) and name != split_rules.ALL_CLIPS.name):
                side = "training" if not len(split["train"]) else "test"
                problem = f"{name}: the store has no {side} rows for its rule ({', '.join(known[name].train)})"
                if asked:
                    raise ArtifactError(f"{store.path}: {problem}; ingest the files that are missing")
                built.skipped.append(problem)
                continue
            written = _write_split(store, split, split_file)
            built.splits.append(written)
            for fraction, seed in itertools.product(fractions, sorted(set(seeds))):
                path = folder(store.path) / f"{name}{SUBSET_MARK}{fraction:.9g}.seed{seed}.json"
                atomic.write_file(
                    path, manifest.encode_document(SUBSET, _subset_document(store, written, fraction, seed))
                )
                built.subsets.append(load_subset(path, written))
    if not built.splits:
        raise ArtifactError(f"{store.path}: no split can be built: {'; '.join(built.skipped)}")
    return built


def _chosen_rules(
    store: Store, asked: list[str], split_file: Path | None, notes: list[str]
) -> tuple[Mapping[str, Rule], list[str]]:
    """Return the available rules by name, and the names to build; with a split file, only its rule and name.

    Raises:
        ConfigError, ArtifactError: as `build_splits`, for invalid names or an invalid file.
    """
    known = available_rules(store)
    if split_file is not None:
        if len(asked) > 1:
            raise ConfigError(f"{split_file}: holds one split; name one with --split, not {', '.join(asked)}")
        name = asked[0] if asked else split_rules.split_name_from_file(split_file)
        if not re.fullmatch(r"\w(\w|[ -])*", name):  # it becomes a file name, and names with a dot are subsets
            raise ConfigError(f"{split_file}: {name!r} is not a valid split name; give a plain name with --split")
        rule = split_rules.rule_from_lists(store, split_file, name, notes)
        known, asked = {rule.name: rule}, [rule.name]
    if not known:
        raise ConfigError(
            f"{store.path}: its skeleton.toml names no splits; add [splits.NAME] and ingest again, "
            "or give lists with --split-file"
        )
    for name in asked:
        if name not in known:
            raise ConfigError(
                f"{store.attributes['dataset']} has no split {name!r}{did_you_mean(name, known)}; "
                f"it has {', '.join(known)}"
            )
    return known, asked


def _write_split(store: Store, split: Mapping[str, Any], split_file: Path | None) -> Split:
    """Write a split and read it back.

    Raises:
        ArtifactError: the sides share a clip or a value of the disjoint column; the message says where to fix it.
        OutputFailed: the disk cannot be written.
    """
    source, remedy = f"{split_file or store.path}: {split['name']}", "put each on one side in the lists"
    if split_file is None:
        remedy = "put each on one side in [splits] of its skeleton.toml and ingest again"
    sides = validated_rows(source, store, split["train"], split["test"], remedy)
    require_disjoint(source, store, split["separates"], *sides, remedy)
    path = folder(store.path) / f"{split['name']}.json"
    atomic.write_file(path, manifest.encode_document(SPLIT, split))
    return load_split(path, store)


def sample_each_class(labels: NDArray[Any], fraction: float, rng: np.random.Generator) -> Rows:
    """Sample a fraction of every class, at least one each; return ascending positions.

    Sizes are round(fraction * n_c) as in CrosSCLR, AimCLR and SkeleMixCLR (Python's rounding, halves to even).
    """
    chosen = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        chosen.append(rng.choice(members, max(1, round(fraction * len(members))), replace=False))
    return np.sort(np.concatenate(chosen))


def _subset_document(store: Store, split: Split, fraction: float, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng([seed, round(fraction * 1e9)])
    labels = store.columns["label"][split.train]
    labelled, labels = split.train[labels >= 0], labels[labels >= 0]
    if not len(labelled):
        raise ArtifactError(f"{store.path}: no training clip of {split.name} has a label, so no labelled subset exists")
    rows = labelled[sample_each_class(labels, fraction, rng)]
    return {
        "tool": manifest.tool_version(),
        "store": {"name": store.name, "digest": store.digest},
        "split": {"name": split.name, "digest": split.digest},
        "fraction": fraction,
        "seed": seed,
        "rows": rows.tolist(),
    }
