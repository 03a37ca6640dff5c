"""Which rows of a store train and which test, and labelled fractions of them: sealed JSON bound to that store."""

import glob
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import manifest, places, publish, split_rules
from pipeline.documents import SPLIT, SUBSET
from pipeline.errors import ArtifactError, ArtifactNotFound, ConfigError
from pipeline.places import SUBSET_MARK
from pipeline.places import splits_folder as folder
from pipeline.split_rules import Rule, divide, rules
from pipeline.store import Store
from pipeline.suggest import meant

Rows = NDArray[np.int64]


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
    notes: list[str]
    """What was found on the way that is no fault, such as listed names that the store does not have."""


def build(
    store: Store,
    names: Iterable[str] = (),
    fractions: Iterable[float] = (),
    seeds: Iterable[int] = (0,),
    split_file: Path | None = None,
) -> Built:
    """Write splits of a store, all that it can have unless named, and labelled fractions of their training rows.

    Args:
        store: what to divide.
        names: the splits to make; with a split file at most one, what the file's split is to be called.
        fractions: shares of the training rows, each in (0, 1].
        seeds: of the fractions; each draws one subset of every fraction.
        split_file: lists of recordings that train and test, in place of the built-in rule.

    Raises:
        ConfigError: no such split for this data set, or a fraction outside (0, 1].
        ArtifactError: a named split, or every one, would have no training or no test rows, or both would share what it
            separates, or a split file lists nothing of the store.
        SkelepipeError: the split file cannot be used.
        OutputFailed: the disk refuses.
    """
    built = Built(splits=[], subsets=[], skipped=[], notes=[])
    known, asked = _chosen(store, list(dict.fromkeys(names)), split_file, built.notes)
    fractions = sorted(set(fractions))
    for fraction in fractions:
        if not 0 < fraction <= 1:
            raise ConfigError(f"label fraction {fraction} is not in (0, 1]; 0.01 is one per cent")
    with publish.sole_writer(folder(store.path)):
        publish.forget_partials(folder(store.path))
        for name in asked or known:
            split = divide(store, known[name])
            if not len(split["train"]) or not len(split["test"]):
                side = "training" if not len(split["train"]) else "test"
                problem = f"{name}: the store has no {side} rows by its rule ({', '.join(known[name].train)})"
                if asked:
                    raise ArtifactError(f"{store.path}: {problem}; ingest the files that are missing")
                built.skipped.append(problem)
                continue
            made = _written(store, split, split_file)
            built.splits.append(made)
            for fraction, seed in itertools.product(fractions, sorted(set(seeds))):
                at = folder(store.path) / f"{name}{SUBSET_MARK}{fraction:.9g}.seed{seed}.json"
                publish.write_file(at, manifest.seal_document(SUBSET, _fraction(store, made, fraction, seed)))
                built.subsets.append(load_subset(at, made))
    if not built.splits:
        raise ArtifactError(f"{store.path}: no split can be made: {'; '.join(built.skipped)}")
    return built


def _chosen(
    store: Store, asked: list[str], split_file: Path | None, notes: list[str]
) -> tuple[Mapping[str, Rule], list[str]]:
    """The rules that a store may be divided by, by name, and the names that were asked for; with a file both are its.

    Raises:
        ConfigError, ArtifactError: as `build`, for what is wrong with names and file.
    """
    known = rules(store)
    if split_file is not None:
        if len(asked) > 1:
            raise ConfigError(f"{split_file}: holds one split; name one with --split, not {', '.join(asked)}")
        name = asked[0] if asked else split_rules.called(split_file)
        if not re.fullmatch(r"\w(\w|[ -])*", name):  # it becomes the name of a file, and a subset's has a point
            raise ConfigError(f"{split_file}: a split cannot be called {name!r}; give it a plain name with --split")
        rule = split_rules.listed(store, split_file, name, notes)
        known, asked = {rule.name: rule}, [rule.name]
    if not known:
        raise ConfigError(
            f"{store.path}: its skeleton.toml names no splits; add [splits.NAME] and ingest again, "
            "or give lists with --split-file"
        )
    for name in asked:
        if name not in known:
            raise ConfigError(
                f"{store.facts['dataset']} has no split {name!r}{meant(name, known)}; it has {', '.join(known)}"
            )
    return known, asked


def _written(store: Store, split: Mapping[str, Any], split_file: Path | None) -> Split:
    """A split's document, once it is written and read back.

    Raises:
        ArtifactError: its sides share a clip, or a value of what it separates; the text says where to put that right.
        OutputFailed: the disk refuses.
    """
    where, remedy = f"{split_file or store.path}: {split['name']}", "put each on one side in the lists"
    if split_file is None:
        remedy = "put each on one side in [splits] of its skeleton.toml and ingest again"
    sides = _rows(where, store, split["train"], split["test"], remedy)
    _refuse_shared(where, store, split["separates"], *sides, remedy)
    path = folder(store.path) / f"{split['name']}.json"
    publish.write_file(path, manifest.seal_document(SPLIT, split))
    return load(path, store)


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
        "tool": manifest.tool(),
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
        ArtifactError: it is damaged, belongs to another store, its sides share a row or what it separates, or are not
            those of its rule.
    """
    plain = manifest.open_document(path, SPLIT)
    if plain["store"]["digest"] != store.digest:
        raise ArtifactError(
            f"{path}: was built for another store ({plain['store']['name']} {plain['store']['digest'][:12]}), "
            f"not for {store.path} {store.digest[:12]}; run `skelepipe build-splits {store.path}`"
        )
    train, test = _rows(path, store, plain["train"], plain["test"], SPLIT.remedy)
    rule = split_rules.recorded(path, store, plain)
    _refuse_shared(path, store, rule.separates, train, test, SPLIT.remedy)
    if plain["separates"] != rule.separates:
        raise ArtifactError(
            f"{path}: says that it separates {plain['separates'] or 'nothing'}, and {rule.name} of "
            f"{store.facts['dataset']} separates {rule.separates or 'nothing'}; {SPLIT.remedy}"
        )
    made = divide(store, rule)
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
        separates=plain["separates"],
        train=train,
        test=test,
        left_out=len(store) - len(train) - len(test),
    )


def _rows(where: Path | str, store: Store, train: Sequence[int], test: Sequence[int], remedy: str) -> tuple[Rows, Rows]:
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


def _refuse_shared(where: Path | str, store: Store, separates: str, train: Rows, test: Rows, remedy: str) -> None:
    """Refuse sides that both have some value of the column that is to be kept apart."""
    if not separates:
        return
    values = store.values(separates)
    if shared := np.intersect1d(values[train], values[test]).tolist():
        raise ArtifactError(
            f"{where}: training and test share {separates} {shared[0]}, which the split is to keep apart; {remedy}"
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


def subsets(store: Store, split: Split, fraction: float) -> list[Subset]:
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


def there(store: Store) -> list[str]:
    """Names of the splits of a store that have been built."""
    return places.built_splits(store.path)


def find(store: Store, name: str | None = None) -> Split:
    """The split of a store by its name or by the path of its file; without one xsub, else the first there is.

    Raises:
        ArtifactNotFound: it has not been built.
        ArtifactError: it does not fit the store, or another split lies under its name.
        ConfigError: a path is that of no split.
    """
    built = there(store)
    if name is None:
        name = "xsub" if "xsub" in built or not built else built[0]
    elif is_path(name):
        return _at(Path(name), store, built)
    path = folder(store.path) / f"{name}.json"
    if not path.exists():
        has = f"there are {', '.join(built)}; " if built else ""
        raise ArtifactNotFound(
            path, f"{has}build splits with `skelepipe build-splits {store.path}`", meant(name, built)
        )
    split = load(path, store)
    if split.name != name:
        raise ArtifactError(f"{path}: holds the split {split.name}; run `skelepipe build-splits {store.path}`")
    return split


def is_path(name: str) -> bool:
    """Whether a split is named by a file: no split's name has a point or a slash in it."""
    return "/" in name or "." in name


def _at(path: Path, store: Store, built: list[str]) -> Split:
    """The split whose file is named: one of the store's own, or a copy of one."""
    if path.suffix != ".json" or SUBSET_MARK in path.name:
        what = "are labelled training clips, not a split" if SUBSET_MARK in path.name else "is no split's file"
        raise ConfigError(
            f"--split {path}: {what}; expected a name ({', '.join(built) or 'none is built'}) or {folder(store.path)}/"
            "NAME.json; published lists go to `skelepipe build-splits --split-file`"
        )
    given = load(path, store)
    own = find(store, given.name)
    if given.digest != own.digest:
        raise ArtifactError(
            f"{path}: is another split than {own.path}, which trainings and evaluations go by; name that"
        )
    return own
