"""Train/test splits of a store and labelled subsets of them: load, check against the store, find by name."""

import glob
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts import manifest
from pipeline.artifacts.paths import SUBSET_MARK, built_splits
from pipeline.artifacts.paths import splits_folder as folder
from pipeline.artifacts.schemas import SPLIT, SUBSET
from pipeline.errors import ArtifactError, ArtifactNotFound, ConfigError
from pipeline.store import split_rules
from pipeline.store.split_rules import split_document
from pipeline.store.store import Store
from pipeline.suggest import did_you_mean

Rows = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """Named train and test rows of one store."""

    name: str
    path: Path
    digest: str
    store_digest: str
    disjoint_column: str
    """The column whose values train and test do not share; empty when there is none. Stored as `separates`."""
    train: Rows
    test: Rows
    left_out: int
    """Number of rows on neither side, because their subject or camera is in neither list of the rule."""

    def to_json(self) -> dict[str, Any]:
        """The fields of `--json`."""
        return {"separates" if key == "disjoint_column" else key: value for key, value in asdict(self).items()}

    def side(self, subset: str) -> Rows:
        """Return the rows of `train`, `test` or `all` (both, ascending)."""
        return {"train": self.train, "test": self.test, "all": np.sort(np.concatenate([self.train, self.test]))}[subset]


@dataclass(frozen=True, kw_only=True, slots=True)
class Subset:
    """A labelled fraction of the training rows of a split, the same fraction of every class."""

    path: Path
    digest: str
    split_digest: str
    fraction: float
    seed: int
    rows: Rows


def load_split(path: Path, store: Store) -> Split:
    """Read a split and check it against its store and its rule.

    Raises:
        ArtifactNotFound: there is no such split.
        ArtifactError: it is damaged, belongs to another store, leaks (a shared row or value of its disjoint column),
            or has other rows than its rule gives.
    """
    plain = manifest.open_document(path, SPLIT)
    if plain["store"]["digest"] != store.digest:
        raise ArtifactError(
            f"{path}: was built for another store ({plain['store']['name']} {plain['store']['digest'][:12]}), "
            f"not for {store.path} {store.digest[:12]}; run `skelepipe build-splits {store.path}`"
        )
    train, test = validated_rows(path, store, plain["train"], plain["test"], SPLIT.remedy)
    rule = split_rules.expected_rule(path, store, plain)
    require_disjoint(path, store, rule.disjoint_column, train, test, SPLIT.remedy)
    if plain["separates"] != rule.disjoint_column:
        raise ArtifactError(
            f"{path}: separates {plain['separates'] or 'nothing'}, but {rule.name} of "
            f"{store.attributes['dataset']} separates {rule.disjoint_column or 'nothing'}; {SPLIT.remedy}"
        )
    expected = split_document(store, rule)
    for side in ("train", "test"):
        if expected[side] != plain[side]:
            row = next(iter({*expected[side]} ^ {*plain[side]}), None)
            difference = "the rows are in another order" if row is None else f"for example {store.names[row]}"
            raise ArtifactError(f"{path}: its {side} clips are not those of its rule ({difference}); {SPLIT.remedy}")
    return Split(
        name=plain["name"],
        path=path,
        digest=plain["digest"],
        store_digest=store.digest,
        disjoint_column=plain["separates"],
        train=train,
        test=test,
        left_out=len(store) - len(train) - len(test),
    )


def validated_rows(
    source: Path | str, store: Store, train: Sequence[int], test: Sequence[int], remedy: str
) -> tuple[Rows, Rows]:
    """Return both sides of a split as arrays; no row may occur twice.

    Raises:
        ArtifactError: a row is not in the store, or occurs twice on one side or on both.
    """
    both = [*train, *test]
    if both and (min(both) < 0 or max(both) >= len(store)):
        raise ArtifactError(f"{source}: has rows that {store.path} does not have; {remedy}")
    counts = np.bincount(np.array(both, np.int64), minlength=1)
    if counts.max() > 1:
        row = int(counts.argmax())
        problem = "is in both training and test" if row in train and row in test else "is twice on one side"
        raise ArtifactError(f"{source}: {store.names[row]} {problem}; {remedy}")
    return np.array(train, np.int64), np.array(test, np.int64)


def require_disjoint(source: Path | str, store: Store, column: str, train: Rows, test: Rows, remedy: str) -> None:
    """Check that the two sides share no value of a column."""
    if not column:
        return
    values = store.values(column)
    if shared := np.intersect1d(values[train], values[test]).tolist():
        raise ArtifactError(
            f"{source}: training and test share {column} {shared[0]}, which the split must keep apart; {remedy}"
        )


def load_subset(path: Path, split: Split) -> Subset:
    """Read a labelled subset and check it against its split.

    Raises:
        ArtifactNotFound: there is no such subset.
        ArtifactError: it is damaged, belongs to another split, or has rows that are not training rows.
    """
    plain = manifest.open_document(path, SUBSET)
    if plain["split"]["digest"] != split.digest:
        raise ArtifactError(
            f"{path}: was drawn from another split than {split.path}; run `skelepipe build-splits` again"
        )
    if not {*plain["rows"]} <= {*split.train.tolist()}:
        raise ArtifactError(f"{path}: has rows that are not training rows of {split.name}; {SUBSET.remedy}")
    rows = np.array(plain["rows"], np.int64)
    if len(np.unique(rows)) != len(rows):
        raise ArtifactError(f"{path}: has a clip twice; {SUBSET.remedy}")
    return Subset(
        path=path,
        digest=plain["digest"],
        split_digest=split.digest,
        fraction=plain["fraction"],
        seed=plain["seed"],
        rows=rows,
    )


def load_subsets(store: Store, split: Split, fraction: float) -> list[Subset]:
    """Load all stored subsets of one labelled fraction of a split, by seed.

    Raises:
        ArtifactNotFound: none is stored.
        ArtifactError: one is damaged or belongs to another split.
    """
    stem = f"{split.name}{SUBSET_MARK}{fraction:.9g}.seed"
    found = [load_subset(path, split) for path in folder(store.path).glob(f"{glob.escape(stem)}*.json")]
    if not found:
        raise ArtifactNotFound(
            folder(store.path) / f"{stem}*.json",
            f"draw some with `skelepipe build-splits {store.path} --split {split.name} --label-fraction {fraction:g} "
            "--seed 0 1 2`",
        )
    return sorted(found, key=lambda subset: subset.seed)


def built_split_names(store: Store) -> list[str]:
    """Return the names of the splits that have been built for a store."""
    return built_splits(store.path)


def find_split(store: Store, name: str | None = None) -> Split:
    """Find a split of a store by name or path; by default xsub, otherwise the first.

    Raises:
        ArtifactNotFound: it has not been built.
        ArtifactError: it does not match the store, or the file contains a split of another name.
        ConfigError: the path is not a split file.
    """
    built = built_split_names(store)
    if name is None:
        name = "xsub" if "xsub" in built or not built else built[0]
    elif is_split_path(name):
        return _load_split_at(Path(name), store, built)
    path = folder(store.path) / f"{name}.json"
    if not path.exists():
        available = f"there are {', '.join(built)}; " if built else ""
        raise ArtifactNotFound(
            path, f"{available}build splits with `skelepipe build-splits {store.path}`", did_you_mean(name, built)
        )
    split = load_split(path, store)
    if split.name != name:
        raise ArtifactError(f"{path}: holds the split {split.name}; run `skelepipe build-splits {store.path}`")
    return split


def is_split_path(name: str) -> bool:
    """Return whether a split is given as a path: names of splits have no dot and no slash."""
    return "/" in name or "." in name


def _load_split_at(path: Path, store: Store, built: list[str]) -> Split:
    """Load a split by path: one of the store's own, or a copy of one."""
    if path.suffix != ".json" or SUBSET_MARK in path.name:
        problem = "is a labelled subset, not a split" if SUBSET_MARK in path.name else "is not a split file"
        raise ConfigError(
            f"--split {path}: {problem}; expected a name ({', '.join(built) or 'none is built'}) or "
            f"{folder(store.path)}/NAME.json; use published lists with `skelepipe build-splits --split-file`"
        )
    given = load_split(path, store)
    own = find_split(store, given.name)
    if given.digest != own.digest:
        raise ArtifactError(f"{path}: differs from {own.path}, which training and evaluation use; name that file")
    return own
