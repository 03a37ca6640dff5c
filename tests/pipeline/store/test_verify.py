import json
import shutil
from pathlib import Path

import pytest

from pipeline.artifacts.manifest import encode_document
from pipeline.artifacts.paths import splits_folder
from pipeline.artifacts.schemas import RUN
from pipeline.errors import ArtifactNotFound
from pipeline.store.build_splits import build_splits
from pipeline.store.store import Store
from pipeline.store.verify import NotAnArtifact, verify
from trainer.runs.run import Run


def test_whole_artifacts_are_good(own_store: Path) -> None:
    built = build_splits(Store(own_store), fractions=[0.5])
    for path in [own_store, *(split.path for split in built.splits), *(subset.path for subset in built.subsets)]:
        assert verify(path).findings == []


def test_everything_wrong_with_a_store_is_named(own_store: Path) -> None:
    (own_store / "label" / "c" / "0").unlink()
    (own_store / "stray").write_text("x")
    found = "\n".join(verify(own_store).findings)
    assert "label/c/0 is missing" in found
    assert "stray does not belong there" in found


def test_a_run_is_its_description_and_every_checkpoint(shared_run: Run, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(shared_run.path, run)
    assert (verify(run).kind, verify(run).findings) == ("skelepipe-run", [])
    assert verify(run / "run.json").findings == []
    for name in ("model.safetensors", "optimiser.safetensors", "meta.json", "MANIFEST.json"):
        file = run / "checkpoints" / f"step-{shared_run.total_steps:08d}" / name
        whole = file.read_bytes()
        file.write_bytes(whole[:-2] + bytes([whole[-2] ^ 1]) + whole[-1:])
        assert "checkpoints/step-00000006" in verify(run).findings[0], name
        file.write_bytes(whole)
    described = run / "run.json"
    described.write_text(described.read_text().replace('"epochs": 2', '"epochs": 3'))
    assert "does not match its digest" in verify(run).findings[0]
    described.write_bytes(b"")
    assert verify(described).findings  # by its place, since it says nothing any more
    described.unlink()
    assert "run.json" in verify(run).findings[0]


def test_a_run_with_anothers_checkpoint_or_none_is_not_good(shared_run: Run, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(shared_run.path, run, ignore=shutil.ignore_patterns("eval"))
    plain = json.loads((run / "run.json").read_bytes())
    resealed = {key: value for key, value in plain.items() if key != "digest"} | {"preset": "other"}
    (run / "run.json").write_bytes(encode_document(RUN, resealed))
    assert verify(run).findings == ["checkpoints/step-00000006: is a checkpoint of another run"]
    shutil.rmtree(run / "checkpoints")
    assert "has no checkpoint" in verify(run).findings[0]


@pytest.mark.parametrize("lost", ["MANIFEST.json", "zarr.json"])
def test_a_store_without_its_papers_is_damaged_not_foreign(own_store: Path, lost: str) -> None:
    (own_store / lost).unlink()
    assert verify(own_store).findings


def test_a_truncated_split_is_damaged(own_store: Path) -> None:
    path = splits_folder(own_store) / "xsub.json"
    path.write_bytes(path.read_bytes()[:200])
    assert verify(path).findings


def test_foreign_and_missing_paths_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "notes.json").write_text('{"digest": 1}')
    for path in (tmp_path, tmp_path / "notes.json"):
        with pytest.raises(NotAnArtifact):
            verify(path)
    with pytest.raises(ArtifactNotFound) as caught:
        verify(tmp_path / "none")
    assert (caught.value.exit_code, NotAnArtifact.exit_code) == (2, 1)


@pytest.mark.parametrize("content", [b"", b'{\n "ki', b"\0" * 4096])
def test_a_split_or_subset_of_which_nothing_is_left_is_damaged_not_foreign(own_store: Path, content: bytes) -> None:
    built = build_splits(Store(own_store), fractions=[0.5])
    for path in (built.splits[0].path, built.subsets[0].path):
        path.write_bytes(content)
        assert verify(path).findings


def test_splits_under_each_others_names_are_damaged(own_store: Path) -> None:
    built = build_splits(Store(own_store), fractions=[0.5])
    xsub, xview = (split.path for split in built.splits)
    for other in (xview, built.subsets[0].path):
        shutil.copy(other, xsub)
        assert verify(xsub).findings


def test_a_text_that_speaks_of_splits_is_not_one(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("a split says skelepipe-split in its first line")
    with pytest.raises(NotAnArtifact):
        verify(tmp_path / "notes.md")
