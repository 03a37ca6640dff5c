"""No split that leaks is built or used, whoever wrote it and however well it is sealed.

What counts: a leak is a clip on both sides or twice on one, or a value of what the protocol separates (subject, camera,
setup; a split file's recordings; whatever column a folder's rule divides by) on both sides. Beyond that, nothing is
taken for a split that is not the one of its name: its rows must be those that the data set's own rule gives or, where a
file listed them, those of the lists that it carries. So the sides cannot be swapped, nor a subject moved as a whole,
though neither leaks. Lists that change along with their rows are another split, which leaks nothing, and are taken.
"""

import json
import random
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cli import main
from pipeline.artifacts import manifest, schemas
from pipeline.artifacts.paths import splits_folder
from pipeline.errors import ArtifactError
from pipeline.ingest.ingest import ingest
from pipeline.ingest.request import IngestRequest
from pipeline.recipes.recipe import load_recipe
from pipeline.store.build_splits import build_splits
from pipeline.store.splits import built_split_names, load_split
from pipeline.store.store import Store
from pipeline.synth.synth import write
from trainer.runs.run import Run

ROUNDS = 80
"""Mutations of each split."""
Document = dict[str, Any]
Mutation = Callable[[random.Random, Document, Store], None]


@dataclass(frozen=True)
class Kept:
    """A split as it was built, and what its protocol separates by the literature or by whoever made it."""

    store: Store
    name: str
    disjoint_column: str

    @property
    def path(self) -> Path:
        return splits_folder(self.store.path) / f"{self.name}.json"

    def document(self) -> Document:
        return {key: value for key, value in json.loads(self.path.read_bytes()).items() if key != "digest"}


def made(dataset: str, folder: Path, clips: int) -> Store:
    write(dataset, folder / "raw", clips=clips, seed=3, broken=0)
    output = folder / "processed" / f"{dataset}.zarr"
    ingest(
        IngestRequest(dataset=dataset, roots=(folder / "raw",), output=output, recipe=load_recipe("none"), workers=1)
    )
    return Store(output)


def lists(store: Store, folder: Path, name: str, train: Callable[[str], bool]) -> Path:
    """A split file."""
    sides: dict[bool, list[str]] = {True: [], False: []}
    for recording in dict.fromkeys(store.recordings):
        sides[train(recording)].append(recording)
    path = folder / f"{name}.txt"
    path.write_text(f"Training videos:\n{', '.join(sides[True])}\nValidation videos:\n{', '.join(sides[False])}\n")
    return path


def even_performer(recording: str) -> bool:
    return int(recording[9:12]) % 2 == 0


def first_time(recording: str) -> bool:
    return recording[12:16] == "R001"


@pytest.fixture(scope="module")
def kept(own_stores: Path, shared_store: Store) -> dict[str, Kept]:
    """Every kind of split that there is."""
    ntu60 = Store(own_stores / "ntu60.zarr")
    build_splits(ntu60, split_file=lists(ntu60, own_stores, "tall", even_performer))
    ntu120 = made("ntu120", own_stores / "120", 60)
    folder = made("folder", own_stores / "folder", 24)
    for store in (ntu120, folder):
        build_splits(store)
    pku1 = made("pku1", own_stores / "pku", 40)
    build_splits(pku1, split_file=lists(pku1, own_stores, "videos", lambda recording: recording < pku1.recordings[20]))
    listed = Store(shutil.copytree(ntu60.path, own_stores / "listed.zarr"))
    half = lists(listed, own_stores, "half", even_performer)
    build_splits(listed, ["xsub"], split_file=half)
    return {
        "ntu60 xsub": Kept(ntu60, "xsub", "subject"),
        "ntu60 xview": Kept(ntu60, "xview", "camera"),
        "ntu120 xsub": Kept(ntu120, "xsub", "subject"),
        "ntu120 xset": Kept(ntu120, "xset", "setup"),
        "folder xsub": Kept(folder, "xsub", "subject"),
        "folder xsession": Kept(folder, "xsession", "session"),
        "split file": Kept(ntu60, "tall", "recording"),
        "split file of long recordings": Kept(pku1, "videos", "recording"),
        "split file for xsub": Kept(listed, "xsub", "subject"),
    }


@pytest.fixture(scope="module")
def own_stores(shared_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("leakage") / "processed"
    shutil.copytree(shared_store.path.parent, folder)
    return folder


def sides(chance: random.Random) -> tuple[str, str]:
    return ("train", "test") if chance.random() < 0.5 else ("test", "train")


def move(chance: random.Random, plain: Document, store: Store) -> None:
    one, other = sides(chance)
    plain[other].append(plain[one].pop(chance.randrange(len(plain[one]))))
    plain[other].sort()


def copy(chance: random.Random, plain: Document, store: Store) -> None:
    one, other = sides(chance)
    plain[other].append(chance.choice(plain[one]))
    plain[other].sort()


def repeat(chance: random.Random, plain: Document, store: Store) -> None:
    one, _ = sides(chance)
    plain[one].insert(chance.randrange(len(plain[one]) + 1), chance.choice(plain[one]))


def exchange(chance: random.Random, plain: Document, store: Store) -> None:
    """So that both sides are as long as before."""
    one, other = (chance.randrange(len(plain[side])) for side in ("train", "test"))
    plain["train"][one], plain["test"][other] = plain["test"][other], plain["train"][one]
    plain["train"].sort()
    plain["test"].sort()


def count_from_the_end(chance: random.Random, plain: Document, store: Store) -> None:
    """As numpy would take it: row -1 is the last one, which may be on the other side."""
    one, _ = sides(chance)
    plain[one][chance.randrange(len(plain[one]))] = -chance.randrange(1, len(store) + 1)


def go_beyond(chance: random.Random, plain: Document, store: Store) -> None:
    one, _ = sides(chance)
    beyond = chance.choice([0, 1, 2**31, 2**32, 2**63, 2**64, 2**70])
    plain[one][chance.randrange(len(plain[one]))] = len(store) + beyond


def separate_otherwise(chance: random.Random, plain: Document, store: Store) -> None:
    columns = [
        "",
        "subject",
        "camera",
        "setup",
        "replication",
        "label",
        "name",
        "recording",
        "session",
        "Subject",
        "no",
    ]
    plain["separates"] = chance.choice([column for column in columns if column != plain["separates"]])


def move_unseparated(chance: random.Random, plain: Document, store: Store) -> None:
    """A row moved, and nothing said to be kept apart."""
    move(chance, plain, store)
    plain["separates"] = chance.choice(["", "name"])


def swap(chance: random.Random, plain: Document, store: Store) -> None:
    plain["train"], plain["test"] = plain["test"], plain["train"]


def share_a_value(chance: random.Random, plain: Document, store: Store) -> None:
    """Some but not all clips of one subject (camera, ...) moved."""
    one, other = sides(chance)
    values = store.values(plain["separates"])
    value = values[chance.choice(plain[one])]
    held = [row for row in plain[one] if values[row] == value]
    moved = set(chance.sample(held, chance.randrange(1, max(2, len(held)))))
    plain[one] = [row for row in plain[one] if row not in moved]
    plain[other] = sorted([*plain[other], *moved])


def move_a_value(chance: random.Random, plain: Document, store: Store) -> None:
    """All clips of one subject (camera, ...) moved: the sides still share none, but it is another protocol."""
    one, other = sides(chance)
    values = store.values(plain["separates"])
    value = values[chance.choice(plain[one])]
    moved = {row for row in plain[one] if values[row] == value}
    plain[one] = [row for row in plain[one] if row not in moved]
    plain[other] = sorted([*plain[other], *moved])


def leave_out(chance: random.Random, plain: Document, store: Store) -> None:
    one, _ = sides(chance)
    del plain[one][chance.randrange(len(plain[one]))]


def empty(chance: random.Random, plain: Document, store: Store) -> None:
    plain[chance.choice(["train", "test"])] = []


def shuffle(chance: random.Random, plain: Document, store: Store) -> None:
    one, _ = sorted(("train", "test"), key=lambda side: -len(plain[side]))
    plain[one] = plain[one][::-1] if chance.random() < 0.5 else plain[one][1:] + plain[one][:1]


def retype(chance: random.Random, plain: Document, store: Store) -> None:
    one, _ = sides(chance)
    at = chance.randrange(len(plain[one]))
    plain[one][at] = chance.choice([float(plain[one][at]), str(plain[one][at]), True, None, [plain[one][at]]])


def forget_the_rule(chance: random.Random, plain: Document, store: Store) -> None:
    chance.choice([lambda: plain.pop("rule"), lambda: plain.update(rule=chance.choice([None, {}, {"test": {}}, []]))])()
    move(chance, plain, store)


def claim_another_rule(chance: random.Random, plain: Document, store: Store) -> None:
    """A whole value moved, and a rule that says so: by a column, not by lists, so it is not its own to say."""
    move_a_value(chance, plain, store)
    values = store.values(plain["separates"] if plain["separates"] != "recording" else "subject")
    column = plain["separates"] if plain["separates"] != "recording" else "subject"
    plain["rule"] = {side: {column: sorted({*values[plain[side]].tolist()})} for side in ("train", "test")}


MUTATIONS: tuple[Mutation, ...] = (
    *(move, copy, repeat, exchange, count_from_the_end, go_beyond, separate_otherwise, move_unseparated, swap),
    *(share_a_value, move_a_value, leave_out, empty, shuffle, retype, forget_the_rule, claim_another_rule),
)


def fault(kept: Kept, plain: Document) -> str:
    """What is to be said of a mutated split, by another way of looking than the code's."""
    size, whole = len(kept.store), kept.document()
    rows = [*plain["train"], *plain["test"]]
    if not all(type(row) is int for row in rows):
        return r"field (train|test)\.\d+ = .*: input should be a valid integer"
    if not all(0 <= row < 2**63 for row in rows):
        return r"field (train|test)\.\d+ = .*: input should be (greater|less) than"
    if any(row not in range(size) for row in rows):
        return "has rows that .* does not have"
    if len({*rows}) < len(rows):
        both = {*plain["train"]} & {*plain["test"]}
        return "is in both training and test" if both else "is twice on one side"
    rule = plain.get("rule")
    if not isinstance(rule, dict) or "train" not in rule:
        return "field '?rule"
    if not {*rule["train"]} <= {"name", "recording"} and kept.disjoint_column == "recording":
        return f"has no split '{kept.name}'"
    values = kept.store.values(kept.disjoint_column)
    if shared := {*values[plain["train"]].tolist()} & {*values[plain["test"]].tolist()}:
        value = re.escape(str(min(shared)))
        return f"training and test share {kept.disjoint_column} {value}, which the split must keep apart"
    if plain["separates"] != kept.disjoint_column:
        return f"separates {plain['separates'] or 'nothing'}, but {kept.name} of \\w+ separates"
    assert (plain["train"], plain["test"]) != (whole["train"], whole["test"])
    return "its (train|test) clips are not those of its rule"


SPLITS = (
    *("ntu60 xsub", "ntu60 xview", "ntu120 xsub", "ntu120 xset"),
    *("folder xsub", "folder xsession", "split file", "split file of long recordings", "split file for xsub"),
)


@pytest.mark.parametrize("which", SPLITS)
def test_no_mutation_of_a_split_is_taken_however_well_it_is_sealed(
    which: str, kept: dict[str, Kept], tmp_path: Path
) -> None:
    split = kept[which]
    chance = random.Random(which)
    path = tmp_path / f"{split.name}.json"
    seen = set()
    for number in range(ROUNDS):
        mutation = MUTATIONS[number % len(MUTATIONS)]
        plain = split.document()
        mutation(chance, plain, split.store)
        path.write_bytes(manifest.encode_document(schemas.SPLIT, plain))
        told = fault(split, plain)
        with pytest.raises(ArtifactError) as refused:
            load_split(path, split.store)
        message = str(refused.value)
        assert message.startswith(f"{path}: "), mutation
        assert re.search(told, message), (mutation, told, message)
        assert message.isprintable()
        seen.add(told.partition(" ")[0])
    assert len(seen) >= 5, f"the mutations of {which} are all of a kind"


@pytest.mark.parametrize("which", SPLITS)
def test_the_splits_themselves_are_taken_and_leak_nothing(which: str, kept: dict[str, Kept]) -> None:
    split = kept[which]
    loaded = load_split(split.path, split.store)
    values = split.store.values(split.disjoint_column)
    assert loaded.disjoint_column == split.disjoint_column
    assert min(len(loaded.train), len(loaded.test)) > 0
    assert not {*loaded.train.tolist()} & {*loaded.test.tolist()}
    assert not {*values[loaded.train].tolist()} & {*values[loaded.test].tolist()}


def changes(split: Kept) -> Iterator[tuple[str, Document]]:
    """What is no leak and no other protocol."""
    yield "nothing", split.document()
    yield "a field that nobody knows", split.document() | {"note": "of the second campaign"}
    yield "made by another version", split.document() | {"tool": "skelepipe 0.0.1"}
    plain = split.document()
    plain["rule"] = {side: dict(condition) for side, condition in plain["rule"].items()}
    for side in ("train", "test"):
        plain["rule"][side]["recording"] = [*plain["rule"][side]["recording"], f"not there, {side}"]
    yield "names that the store does not have", plain
    for one, other in (("train", "test"), ("test", "train")):
        plain = split.document()
        subject = int(split.store.values("subject")[plain[one][0]])
        moved = [row for row in plain[one] if split.store.values("subject")[row] == subject]
        names = {split.store.recordings[row] for row in moved}
        plain[one] = [row for row in plain[one] if row not in moved]
        plain["rule"][one]["recording"] = [name for name in plain["rule"][one]["recording"] if name not in names]
        yield f"a subject left out of {one}, lists and rows", json.loads(json.dumps(plain))
        plain[other] = sorted([*plain[other], *moved])
        plain["rule"][other]["recording"] += sorted(names)
        yield f"a subject moved to {other}, lists and rows", plain


@pytest.mark.parametrize("which", ["split file", "split file of long recordings", "split file for xsub"])
def test_lists_that_change_along_with_their_rows_leak_nothing_and_are_taken(
    which: str, kept: dict[str, Kept], tmp_path: Path
) -> None:
    split = kept[which]
    for what, plain in changes(split):
        path = tmp_path / f"{split.name}.json"
        path.write_bytes(manifest.encode_document(schemas.SPLIT, plain))
        loaded = load_split(path, split.store)
        assert (loaded.train.tolist(), loaded.test.tolist()) == (plain["train"], plain["test"]), what


def test_lists_of_xsub_that_share_a_subject_leak_though_rows_and_rule_agree(
    kept: dict[str, Kept], tmp_path: Path
) -> None:
    split = kept["split file for xsub"]
    plain = split.document()
    row = next(row for row in plain["train"] if len(rows_of_subject(split, row)) > 1)
    name = split.store.recordings[row]
    plain["train"].remove(row)
    plain["test"] = sorted([*plain["test"], row])
    plain["rule"]["train"]["recording"].remove(name)
    plain["rule"]["test"]["recording"].append(name)
    path = tmp_path / "xsub.json"
    path.write_bytes(manifest.encode_document(schemas.SPLIT, plain))
    subject = split.store.columns["subject"][row]
    with pytest.raises(ArtifactError, match=f"xsub.json: training and test share subject {subject}, which"):
        load_split(path, split.store)


def rows_of_subject(split: Kept, row: int) -> list[int]:
    subjects = split.store.columns["subject"]
    return [other for other in range(len(subjects)) if subjects[other] == subjects[row]]


COMMANDS = {
    "pretrain": "pretrain STORE --split xsub --preset quick --out HERE/run",
    "eval": "eval RUN --store STORE --split xsub --protocol knn",
    "embed --split": "embed RUN --store STORE --split xsub --out HERE/f.npz",
    "embed --subset": "embed RUN --store STORE --subset test --out HERE/f.npz",
    "export ctrgcn": "export STORE --format ctrgcn --split xsub --out HERE/x.npz",
    "export stgcn": "export STORE --format stgcn --split xsub --out HERE/x",
    "export pyskl": "export STORE --format pyskl --out HERE/x.pkl",
    "export hdf5": "export STORE --format hdf5 --out HERE/x.h5",
}
USED: dict[str, Mutation] = {
    "moved": move,
    "copied": copy,
    "counted from the end": count_from_the_end,
    "swapped": swap,
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("how", USED)
def test_no_command_uses_a_split_that_was_mutated(
    command: str, how: str, own_store: Path, shared_run: Run, tmp_path: Path
) -> None:
    split = Kept(Store(own_store), "xsub", "subject")
    plain = split.document()
    USED[how](random.Random(how), plain, split.store)
    told = fault(split, plain)
    split.path.write_bytes(manifest.encode_document(schemas.SPLIT, plain))
    places = {"STORE": own_store, "RUN": shared_run.path, "HERE": tmp_path}
    words = re.sub("STORE|RUN|HERE", lambda place: str(places[place[0]]), COMMANDS[command]).split()
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 1, done.output
    (line,) = (line for line in done.output.splitlines() if line.startswith("Error: "))
    assert line.startswith(f"Error: {split.path}: "), line
    assert re.search(told, line), line
    assert not [path for path in tmp_path.iterdir() if path.name in {"run", "f.npz", "x.npz", "x", "x.pkl", "x.h5"}]


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("train = { subject = [1, 2, 3] }\ntest = { subject = [3, 6] }", "is in both training and test"),
        ('train = { subject = ["1", 2] }\ntest = { subject = ["01", 6] }', "is in both training and test"),
        ('train = { subject = [1, 6] }\ntest = { session = "evening" }', "is in both training and test"),
        ('train = { session = "evening" }\ntest = { label = [0] }', "is in both training and test"),
    ],
)
def test_a_skeleton_toml_whose_rule_makes_sides_share_clips_is_refused_when_built(
    rule: str, told: str, tmp_path: Path
) -> None:
    write("folder", tmp_path / "raw", clips=12, seed=0, broken=0)
    described = tmp_path / "raw" / "skeleton.toml"
    described.write_text(described.read_text().partition("[splits.")[0] + f"[splits.mine]\n{rule}\n")
    request = IngestRequest(
        dataset="folder",
        roots=(tmp_path / "raw",),
        output=tmp_path / "s.zarr",
        recipe=load_recipe("none"),
        workers=1,
    )
    ingest(request)
    done = CliRunner().invoke(main, ["build-splits", str(tmp_path / "s.zarr")])
    assert done.exit_code == 1
    assert done.output.startswith(f"Error: {tmp_path / 's.zarr'}: mine: ")
    assert told in done.output
    assert done.output.endswith("; put each on one side in [splits] of its skeleton.toml and ingest again\n")
    assert not built_split_names(Store(tmp_path / "s.zarr"))


@pytest.mark.parametrize(
    ("name", "train", "told"),
    [
        ("xsub", first_time, r"training and test share subject \d+, which"),
        ("xview", even_performer, r"training and test share camera \d+, which"),
    ],
)
def test_a_split_file_whose_lists_share_what_its_name_separates_is_refused_when_built(
    name: str, train: Callable[[str], bool], told: str, own_store: Path, tmp_path: Path
) -> None:
    store = Store(own_store)
    before = (splits_folder(own_store) / f"{name}.json").read_bytes()
    path = lists(store, tmp_path, "mine", train)
    done = CliRunner().invoke(main, ["build-splits", str(own_store), "--split", name, "--split-file", str(path)])
    assert done.exit_code == 1
    assert re.match(f"Error: {path}: {name}: {told}", done.output), done.output
    assert done.output.endswith("; put each on one side in the lists\n")
    assert (splits_folder(own_store) / f"{name}.json").read_bytes() == before


def test_a_split_file_with_one_recording_on_both_sides_is_refused(own_store: Path, tmp_path: Path) -> None:
    names = Store(own_store).recordings
    (tmp_path / "mine.txt").write_text(f"Training videos:\n{', '.join(names[:9])}\nValidation videos:\n{names[3]}\n")
    done = CliRunner().invoke(main, ["build-splits", str(own_store), "--split-file", str(tmp_path / "mine.txt")])
    assert done.exit_code != 0
    assert f"mine.txt:4: {names[3]} is already in line 2" in done.output
