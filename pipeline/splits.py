"""Which rows of a store train and which test, and labelled fractions of them: sealed JSON bound to that store."""

import importlib.metadata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import manifest, publish
from pipeline.errors import ArtifactError, ArtifactNotFound, ConfigError
from pipeline.ntu_names import CAMERAS, NTU60, XVIEW_TRAIN
from pipeline.store import Store

KIND = "skelepipe-split"
SUBSET_KIND = "skelepipe-subset"
FORMAT_VERSION = 1
FOLDER = "splits"
"""The folder beside a store in which a folder of its name holds its splits."""
SUBSET_MARK = ".train-"
"""What the name of a subset's file holds and that of a split's never does."""
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Rule:
    """How an official split divides a data set: by the value of one column of the store."""

    name: str
    separates: str
    """The column whose values train and test must not share."""
    train: frozenset[int]
    test: frozenset[int]


# Shahroudy et al. 2016 (NTU RGB+D), section 4.1: cross-subject by performer (20 train, 20 test), cross-view by camera.
OFFICIAL: dict[str, tuple[Rule, ...]] = {
    "ntu60": (
        Rule("xsub", "subject", NTU60.xsub_train, frozenset(range(1, NTU60.performers + 1)) - NTU60.xsub_train),
        Rule("xview", "camera", XVIEW_TRAIN, frozenset(CAMERAS) - XVIEW_TRAIN),
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """Named train and test rows of one store."""

    name: str
    path: Path
    digest: str
    store_digest: str
    separates: str
    train: Rows
    test: Rows
    left_out: int
    """Rows in neither side: their subject or camera is in neither of the rule's lists."""

    def side(self, subset: str) -> Rows:
        """Rows of `train`, `test` or `all` (both, in order)."""
        return {"train": self.train, "test": self.test, "all": np.sort(np.concatenate([self.train, self.test]))}[subset]


@dataclass(frozen=True, kw_only=True, slots=True)
class Subset:
    """A labelled fraction of a split's training rows, the same share of every class."""

    path: Path
    digest: str
    split_digest: str
    fraction: float
    seed: int
    rows: Rows


@dataclass(frozen=True, kw_only=True, slots=True)
class Built:
    """What `build` made, and what it could not make."""

    splits: list[Split]
    subsets: list[Subset]
    skipped: list[str]


def folder(store_path: Path) -> Path:
    """Where the splits of a store lie: `splits/NAME/` beside it."""
    return store_path.parent / FOLDER / store_path.stem


def build(store: Store, names: Iterable[str] = (), fractions: Iterable[float] = (), seed: int = 0) -> Built:
    """Write splits of a store, all official ones unless named, and labelled fractions of their training rows.

    Raises:
        ConfigError: no such split for this data set, or a fraction outside (0, 1].
        ArtifactError: a named split would have no training or no test rows.
        OutputFailed: the disk refuses.
    """
    rules = {rule.name: rule for rule in OFFICIAL[store.facts["dataset"]]}
    asked = list(dict.fromkeys(names))
    fractions = sorted(set(fractions))
    for name in asked:
        if name not in rules:
            raise ConfigError(f"{store.facts['dataset']} has no split {name!r}; it has {', '.join(rules)}")
    for fraction in fractions:
        if not 0 < fraction <= 1:
            raise ConfigError(f"label fraction {fraction} is not in (0, 1]; 0.01 is one per cent")
    built = Built(splits=[], subsets=[], skipped=[])
    with publish.sole_writer(folder(store.path)):
        for name in asked or rules:
            split = divide(store, rules[name])
            if not len(split["train"]) or not len(split["test"]):
                side = "training" if not len(split["train"]) else "test"
                problem = f"{name}: the store has no {side} rows by its rule ({rules[name].separates})"
                if asked:
                    raise ArtifactError(f"{store.path}: {problem}; ingest the files that are missing")
                built.skipped.append(problem)
                continue
            path = folder(store.path) / f"{name}.json"
            publish.write_file(path, manifest.seal_document(split))
            made = load(path, store)
            built.splits.append(made)
            for fraction in fractions:
                at = folder(store.path) / f"{name}{SUBSET_MARK}{fraction:.9g}.seed{seed}.json"
                publish.write_file(at, manifest.seal_document(_fraction(store, made, fraction, seed)))
                built.subsets.append(load_subset(at, made))
    return built


def divide(store: Store, rule: Rule) -> dict[str, Any]:
    """The document of one split."""
    values = store.columns[rule.separates]
    train, test = (np.flatnonzero(np.isin(values, sorted(side))) for side in (rule.train, rule.test))
    return {
        "kind": KIND,
        "format_version": FORMAT_VERSION,
        "tool": f"skelepipe {importlib.metadata.version('skelepipe')}",
        "name": rule.name,
        "store": {"name": store.name, "dataset": store.facts["dataset"], "digest": store.digest, "clips": len(store)},
        "separates": rule.separates,
        "rule": {"train": sorted(rule.train), "test": sorted(rule.test)},
        "train": train.tolist(),
        "test": test.tolist(),
    }


def stratified(labels: NDArray[Any], fraction: float, rng: np.random.Generator) -> Rows:
    """Positions of a fraction of every class, at least one each, ascending.

    Sizes are round(fraction * n_c) as CrosSCLR, AimCLR and SkeleMixCLR draw them (Python's rounding, halves to even).
    """
    chosen = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        chosen.append(rng.choice(members, max(1, round(fraction * len(members))), replace=False))
    return np.sort(np.concatenate(chosen))


def _fraction(store: Store, split: Split, fraction: float, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng([seed, round(fraction * 1e9)])
    rows = split.train[stratified(store.columns["label"][split.train], fraction, rng)]
    return {
        "kind": SUBSET_KIND,
        "format_version": FORMAT_VERSION,
        "tool": f"skelepipe {importlib.metadata.version('skelepipe')}",
        "store": {"name": store.name, "digest": store.digest},
        "split": {"name": split.name, "digest": split.digest},
        "fraction": fraction,
        "seed": seed,
        "rows": rows.tolist(),
    }


def load(path: Path, store: Store) -> Split:
    """Read a split and hold it against its store.

    Raises:
        ArtifactNotFound: there is no such split.
        ArtifactError: it is damaged, belongs to another store, or its sides share a row or what it separates.
    """
    plain = _open(path, KIND)
    if plain["store"]["digest"] != store.digest:
        raise ArtifactError(
            f"{path}: was built for another store ({plain['store']['name']} {plain['store']['digest'][:12]}), "
            f"not for {store.path} {store.digest[:12]}; run `skelepipe build-splits {store.path}`"
        )
    train, test = (np.array(plain[side], np.int64) for side in ("train", "test"))
    _refuse_leaks(path, store, plain["separates"], train, test)
    return Split(
        name=plain["name"],
        path=path,
        digest=plain["digest"],
        store_digest=store.digest,
        separates=plain["separates"],
        train=train,
        test=test,
        left_out=len(store) - len(train) - len(test),
    )


def _open(path: Path, kind: str) -> dict[str, Any]:
    """A split's or subset's document, of the format version that is read here."""
    plain = manifest.open_document(path, kind)
    if plain["format_version"] != FORMAT_VERSION:
        raise ArtifactError(
            f"{path}: has format version {plain['format_version']}, this skelepipe reads {FORMAT_VERSION}; "
            "run `skelepipe build-splits` again"
        )
    return plain


def _refuse_leaks(path: Path, store: Store, separates: str, train: Rows, test: Rows) -> None:
    both = np.concatenate([train, test])
    if len(both) and (both.min() < 0 or both.max() >= len(store)):
        raise ArtifactError(f"{path}: names rows that {store.path} does not have; run `skelepipe build-splits`")
    if len(np.unique(both)) != len(both):
        raise ArtifactError(f"{path}: a clip stands twice in it, in training and test or in one of them")
    values = store.columns[separates]
    if shared := np.intersect1d(values[train], values[test]).tolist():
        raise ArtifactError(
            f"{path}: training and test share {separates} {shared[0]}, which the split is to keep apart"
        )


def load_subset(path: Path, split: Split) -> Subset:
    """Read a labelled fraction and hold it against its split.

    Raises:
        ArtifactNotFound: there is no such subset.
        ArtifactError: it is damaged, belongs to another split, or names rows that do not train there.
    """
    plain = _open(path, SUBSET_KIND)
    if plain["split"]["digest"] != split.digest:
        raise ArtifactError(
            f"{path}: was drawn from another split than {split.path}; run `skelepipe build-splits` again"
        )
    rows = np.array(plain["rows"], np.int64)
    if not np.isin(rows, split.train).all():
        raise ArtifactError(f"{path}: names rows that are not training rows of {split.name}")
    return Subset(
        path=path,
        digest=plain["digest"],
        split_digest=split.digest,
        fraction=plain["fraction"],
        seed=plain["seed"],
        rows=rows,
    )


def find(store: Store, name: str | None = None) -> Split:
    """The split of a store by name; without one xsub, else the first there is.

    Raises:
        ArtifactNotFound: it has not been built.
        ArtifactError: it does not fit the store, or another split lies under its name.
    """
    there = sorted(path.stem for path in folder(store.path).glob("*.json") if SUBSET_MARK not in path.name)
    if name is None:
        name = "xsub" if "xsub" in there or not there else there[0]
    path = folder(store.path) / f"{name}.json"
    if not path.exists():
        has = f"there are {', '.join(there)}; " if there else ""
        raise ArtifactNotFound(path, f"{has}build splits with `skelepipe build-splits {store.path}`")
    split = load(path, store)
    if split.name != name:
        raise ArtifactError(f"{path}: holds the split {split.name}; run `skelepipe build-splits {store.path}`")
    return split
