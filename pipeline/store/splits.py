"""Which rows of a store train and which test, and labelled fractions of them: sealed JSON bound to that store."""

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
    """Rows in neither side: their subject or camera is in neither of the rule's lists."""

    def to_json(self) -> dict[str, Any]:
        """The fields of `--json`."""
        return {"separates" if key == "disjoint_column" else key: value for key, value in asdict(self).items()}

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


def load_split(path: Path, store: Store) -> Split:
    """Read a split and hold it against its store.

    Raises:
        ArtifactNotFound: there is no such split.
        ArtifactError: it is damaged, belongs to another store, its sides share a row or what it separates, or are not
            those of its rule.
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
            f"{path}: says that it separates {plain['separates'] or 'nothing'}, and {rule.name} of "
            f"{store.attributes['dataset']} separates {rule.disjoint_column or 'nothing'}; {SPLIT.remedy}"
        )
    made = split_document(store, rule)
    for side in ("train", "test"):
        if made[side] != plain[side]:
            row = next(iter({*made[side]} ^ {*plain[side]}), None)
            what = "its rows are in another order" if row is None else f"not so {store.names[row]}"
            raise ArtifactError(f"{path}: its {side} clips are not those of its rule, {what}; {SPLIT.remedy}")
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
    where: Path | str, store: Store, train: Sequence[int], test: Sequence[int], remedy: str
) -> tuple[Rows, Rows]:
    """Both sides of a split, each row of the store once in one of them at most.

    Raises:
        ArtifactError: one has a row that the store does not have, or one twice, or they share one.
    """
    both = [*train, *test]
    if both and (min(both) < 0 or max(both) >= len(store)):
        raise ArtifactError(f"{where}: names rows that {store.path} does not have; {remedy}")
    counts = np.bincount(np.array(both, np.int64), minlength=1)
    if counts.max() > 1:
        row = int(counts.argmax())
        sides = "training and test share it" if row in train and row in test else "one side has it twice"
        raise ArtifactError(f"{where}: {store.names[row]} stands twice in it: {sides}; {remedy}")
    return np.array(train, np.int64), np.array(test, np.int64)


def require_disjoint(where: Path | str, store: Store, column: str, train: Rows, test: Rows, remedy: str) -> None:
    """Refuse sides that both have some value of the column that is to be kept apart."""
    if not column:
        return
    values = store.values(column)
    if shared := np.intersect1d(values[train], values[test]).tolist():
        raise ArtifactError(
            f"{where}: training and test share {column} {shared[0]}, which the split is to keep apart; {remedy}"
        )


def load_subset(path: Path, split: Split) -> Subset:
    """Read a labelled fraction and hold it against its split.

    Raises:
        ArtifactNotFound: there is no such subset.
        ArtifactError: it is damaged, belongs to another split, or names rows that do not train there.
    """
    plain = manifest.open_document(path, SUBSET)
    if plain["split"]["digest"] != split.digest:
        raise ArtifactError(
            f"{path}: was drawn from another split than {split.path}; run `skelepipe build-splits` again"
        )
    if not {*plain["rows"]} <= {*split.train.tolist()}:
        raise ArtifactError(f"{path}: names rows that are not training rows of {split.name}; {SUBSET.remedy}")
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
    """Every stored draw of a labelled fraction of a split's training rows, by seed.

    Raises:
        ArtifactNotFound: none is stored.
        ArtifactError: one is damaged or of another split.
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
    """Names of the splits of a store that have been built."""
    return built_splits(store.path)


def find_split(store: Store, name: str | None = None) -> Split:
    """The split of a store by its name or by the path of its file; without one xsub, else the first there is.

    Raises:
        ArtifactNotFound: it has not been built.
        ArtifactError: it does not fit the store, or another split lies under its name.
        ConfigError: a path is that of no split.
    """
    built = built_split_names(store)
    if name is None:
        name = "xsub" if "xsub" in built or not built else built[0]
    elif is_split_path(name):
        return _split_at(Path(name), store, built)
    path = folder(store.path) / f"{name}.json"
    if not path.exists():
        has = f"there are {', '.join(built)}; " if built else ""
        raise ArtifactNotFound(
            path, f"{has}build splits with `skelepipe build-splits {store.path}`", did_you_mean(name, built)
        )
    split = load_split(path, store)
    if split.name != name:
        raise ArtifactError(f"{path}: holds the split {split.name}; run `skelepipe build-splits {store.path}`")
    return split


def is_split_path(name: str) -> bool:
    """Whether a split is named by a file: no split's name has a point or a slash in it."""
    return "/" in name or "." in name


def _split_at(path: Path, store: Store, built: list[str]) -> Split:
    """The split whose file is named: one of the store's own, or a copy of one."""
    if path.suffix != ".json" or SUBSET_MARK in path.name:
        what = "are labelled training clips, not a split" if SUBSET_MARK in path.name else "is no split's file"
        raise ConfigError(
            f"--split {path}: {what}; expected a name ({', '.join(built) or 'none is built'}) or {folder(store.path)}/"
            "NAME.json; published lists go to `skelepipe build-splits --split-file`"
        )
    given = load_split(path, store)
    own = find_split(store, given.name)
    if given.digest != own.digest:
        raise ArtifactError(
            f"{path}: is another split than {own.path}, which trainings and evaluations go by; name that"
        )
    return own
