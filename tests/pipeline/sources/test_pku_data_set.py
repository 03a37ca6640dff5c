"""PKU-MMD from text files to splits, through the stages that users call."""

import dataclasses
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.artifacts.paths import splits_folder
from pipeline.errors import ArtifactError, ConfigError, OutputExists
from pipeline.ingest.ingest import ingest
from pipeline.ingest.request import IngestRequest
from pipeline.recipes.recipe import load_recipe
from pipeline.sources.pku import parser as pku_parser
from pipeline.sources.pku.names import CLASSES
from pipeline.store.build_splits import build_splits
from pipeline.store.store import Store
from pipeline.synth.synth import write
from trainer.terminal.pipeline_output import quarantine_table

CLIPS = 60


@pytest.fixture(scope="module", params=["pku1", "pku2"])
def dataset(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def pku_raw(tmp_path_factory: pytest.TempPathFactory, dataset: str) -> Path:
    folder = tmp_path_factory.mktemp(dataset) / "raw"
    write(dataset, folder, clips=CLIPS, seed=0, broken=2)
    return folder


@pytest.fixture(scope="module")
def request_to(dataset: str, pku_raw: Path) -> Callable[..., IngestRequest]:
    def make(output: Path, root: Path = pku_raw, name: str = "none", **options: object) -> IngestRequest:
        return IngestRequest(
            dataset=dataset, roots=(root,), output=output, recipe=load_recipe(name), **options  # type: ignore[arg-type]
        )  # fmt: skip

    return make


@pytest.fixture(scope="module")
def pku_store(request_to: Callable[..., IngestRequest], pku_raw: Path) -> Store:
    ingest(request_to(pku_raw.parent / "processed" / "pku.zarr", workers=1))
    return Store(pku_raw.parent / "processed" / "pku.zarr")


def split_files(raw: Path) -> dict[str, Path]:
    return {"xsub" if "subject" in path.name else "xview": path for path in (raw / "Split").iterdir()}


def test_every_clip_is_the_slice_of_its_label_row(pku_raw: Path, pku_store: Store) -> None:
    assert len(pku_store) == CLIPS
    rows = {path.stem: path.read_text().splitlines() for path in pku_raw.glob("*abel*/*.txt")}
    videos = {path.stem: path for path in pku_raw.glob("*keleton*/*.txt")}
    for n, (name, video) in enumerate(zip(pku_store.names, pku_store.recordings, strict=True)):
        action, start, end, _ = map(int, rows[video][int(name.rpartition("_")[2]) - 1].split(","))
        assert pku_store.columns["label"][n] == action - 1
        assert pku_store.columns["start"][n] == start
        text = videos[video].read_text().splitlines()[start:end]
        wanted = np.array([line.split() for line in text]).astype(np.float64).astype(np.float32)
        wanted = wanted.reshape(len(text), 2, 25, 3).transpose(1, 0, 2, 3)
        clip = pku_store.clip(n)
        np.testing.assert_array_equal(np.nan_to_num(clip), wanted[: len(clip)])
        assert not wanted[len(clip) :].any()


def test_original_classes_are_kept_and_dense_labels_stored(pku_store: Store) -> None:
    labels = sorted(set(pku_store.columns["label"].tolist()))
    assert pku_store.attributes["dense_labels"] == {str(label): dense for dense, label in enumerate(labels)}
    assert [pku_store.attributes["classes"][str(label)] for label in labels] == [CLASSES[label] for label in labels]


def test_each_video_is_parsed_once(
    request_to: Callable[..., IngestRequest], pku_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parsed = pku_parser.parse, []
    monkeypatch.setattr(
        pku_parser, "parse", lambda *given, **named: parsed.append(named["name"]) or whole(*given, **named)
    )
    ingest(request_to(tmp_path / "s.zarr", workers=1))
    assert len(parsed) == len(set(parsed)) >= len(set(pku_store.recordings))


def test_workers_zips_and_repeated_runs_give_the_same_store(
    request_to: Callable[..., IngestRequest], pku_raw: Path, pku_store: Store, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for path in pku_raw.rglob("*.txt"):
            packed.write(path, path.relative_to(pku_raw.parent))
    request = request_to(tmp_path / "s.zarr", tmp_path / "all.zip", workers=2)
    assert ingest(request).digest == pku_store.digest
    assert ingest(request).outcome == "up to date"
    with pytest.raises(OutputExists, match="other steps or parameters"):
        ingest(dataclasses.replace(request, recipe=request.recipe.with_frame_index("0-inclusive")))


def test_a_changed_label_file_is_detected(
    request_to: Callable[..., IngestRequest], pku_raw: Path, tmp_path: Path
) -> None:
    for path in pku_raw.rglob("*.txt"):
        target = tmp_path / "raw" / path.relative_to(pku_raw)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    request = request_to(tmp_path / "s.zarr", tmp_path / "raw")
    ingest(request)
    label = min((tmp_path / "raw").glob("*abel*/*.txt"))
    label.write_bytes(label.read_bytes().replace(b",", b" ,", 1))
    with pytest.raises(OutputExists, match=f"1 recordings changed, first {label.stem}"):
        ingest(request)


@pytest.mark.parametrize("name", ["xsub", "xview"])
def test_the_lists_and_the_rule_give_the_same_rows(pku_raw: Path, pku_store: Store, name: str) -> None:
    by_rule = build_splits(pku_store, [name]).splits[0]
    built = build_splits(pku_store, split_file=split_files(pku_raw)[name])
    by_list = built.splits[0]
    assert (by_list.name, by_list.disjoint_column) == (name, by_rule.disjoint_column)
    for side in ("train", "test"):
        np.testing.assert_array_equal(by_list.side(side), by_rule.side(side))
        assert len(by_list.side(side))
    assert all("are not in the store" in note for note in built.notes)  # the broken videos


def test_a_split_list_that_leaks_or_matches_nothing_is_refused(pku_store: Store, tmp_path: Path) -> None:
    videos = sorted(set(pku_store.recordings))
    take = {video[:-2] for video in videos}
    views = next(
        [v for v in videos if v.startswith(t)] for t in sorted(take) if sum(v.startswith(t) for v in videos) > 1
    )
    others = [video for video in videos if video not in views]
    leaky = tmp_path / "cross-subject.txt"
    leaky.write_text(f"Training videos:\n{views[0]}, {others[0]},\nValidataion videos:\n{views[1]}\n")
    before = sorted(splits_folder(pku_store.path).glob("*"))
    message = rf"{leaky}: xsub: training and test share (setup|subject) \d+, which the split must keep apart"
    with pytest.raises(ArtifactError, match=message):
        build_splits(pku_store, split_file=leaky)
    assert sorted(splits_folder(pku_store.path).glob("*")) == before
    foreign = tmp_path / "mine.txt"
    foreign.write_text("Training videos:\n0001-L\nTest videos:\n0001-M\n")
    message = (
        f"{foreign}: .* has none of its 2 names, such as 0001-L; its names are like {videos[0]}. Is it the list of"
    )
    with pytest.raises(ArtifactError, match=message):
        build_splits(pku_store, split_file=foreign)
    with pytest.raises(ConfigError, match="holds one split; name one with --split"):
        build_splits(pku_store, ["xsub", "xview"], split_file=leaky)


def test_a_clip_refused_by_the_recipe_is_in_the_quarantine_table() -> None:
    refused = {"name": "0002-L_007", "recording": "0002-L", "file": "0002-L.txt", "line": 0, "reason": "too short"}
    labelled = refused | {"file": "labels/0002-L.txt", "line": 7}
    cells = list(quarantine_table([refused, labelled]).columns[0].cells)
    assert [str(cell) for cell in cells] == ["0002-L.txt (0002-L_007)", "labels/0002-L.txt"]


def test_a_custom_split_list_is_named_by_its_file_or_by_option(pku_store: Store, tmp_path: Path) -> None:
    videos = sorted(set(pku_store.recordings))
    mine = tmp_path / "mine.txt"
    mine.write_text(f"Training videos:\n{', '.join(videos[1:])}\nTest videos:\n{videos[0]}\n")
    assert [split.name for split in build_splits(pku_store, split_file=mine).splits] == ["mine"]
    for name in ("../mine", "x/y", "", "mine.train-1"):
        with pytest.raises(ConfigError, match="is not a valid split name"):
            build_splits(pku_store, [name], split_file=mine)
    named = build_splits(pku_store, ["held-out"], split_file=mine).splits[0]
    assert (named.name, named.disjoint_column) == ("held-out", "recording")
    assert {pku_store.recordings[row] for row in named.test} == {videos[0]}
