import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.artifacts import manifest
from pipeline.artifacts.validation import DocumentFields, DocumentSpec
from pipeline.errors import ArtifactError, ArtifactNotFound


class Things(DocumentFields):
    rows: list[int] | None = None


SPEC = DocumentSpec("skelepipe-thing", Things, "make it again")
OTHER = DocumentSpec("skelepipe-other", Things, "make it again")


def replace_by_pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "thing"
    (folder / "deep").mkdir(parents=True)
    (folder / "a").write_bytes(b"first")
    (folder / "deep" / "b").write_bytes(b"second")
    manifest.write_manifest(folder, SPEC)
    return folder


def test_a_written_document_opens_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "d.json"
    path.write_bytes(manifest.encode_document(SPEC, {"rows": [1, 2]}))
    assert manifest.open_document(path, SPEC)["rows"] == [1, 2]


def test_every_flipped_bit_of_a_document_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "d.json"
    whole = manifest.encode_document(SPEC, {"rows": [1, 2]})
    unnoticed = []
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            manifest.open_document(path, SPEC)
            unnoticed.append(bit)
        except ArtifactError:
            pass
    assert unnoticed == []


def test_a_text_that_changed_without_its_content_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "d.json"
    whole = manifest.encode_document(SPEC, {"rate": 1e-05, "name": "\u00eb"})
    for before, after in ((b"1e-05", b"1E-05"), (b"\\u00eb", b"\\u00EB"), (b"{\n", b"{\t")):
        assert before in whole
        path.write_bytes(whole.replace(before, after))
        assert json.loads(path.read_bytes()) == json.loads(whole)
        with pytest.raises(ArtifactError, match="was changed or damaged; make it again"):
            manifest.open_document(path, SPEC)


def test_the_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert manifest.json_digest({"a": 1, "b": 2}) == manifest.json_digest({"b": 2, "a": 1})


def test_a_whole_folder_has_no_findings(folder: Path) -> None:
    assert manifest.verify_folder(folder, SPEC) == []
    manifest.open_folder(folder, SPEC)


@pytest.mark.parametrize(
    ("harm", "finding"),
    [
        (lambda f: (f / "a").unlink(), "a is missing"),
        (lambda f: (f / "a").write_bytes(b""), "a has 0 bytes, expected 5"),
        (lambda f: (f / "a").write_bytes(b"FIRST"), "a has changed"),
        (lambda f: (f / "deep" / "new").write_bytes(b"x"), "deep/new does not belong there"),
        (lambda f: (f / "MANIFEST.json").unlink(), "it is incomplete"),
        (lambda f: (f / "MANIFEST.json").write_bytes(b"{"), "is not JSON"),
        (lambda f: replace_by_pipe(f / "a"), "a is not a regular file"),
        (lambda f: replace_by_pipe(f / "deep" / "new"), "deep/new does not belong there"),
        (lambda f: (f / "link").symlink_to("/dev/zero"), "link does not belong there"),
        (lambda f: replace_by_pipe(f / "MANIFEST.json"), "has no MANIFEST.json"),
    ],
)
def test_damage_of_a_folder_is_reported(folder: Path, harm: object, finding: str) -> None:
    harm(folder)  # type: ignore[operator]
    assert finding in "".join(manifest.verify_folder(folder, SPEC))
    with pytest.raises(ArtifactError, match=finding):
        manifest.open_folder(folder, SPEC)


def test_swapped_files_of_equal_size_are_detected(folder: Path) -> None:
    (folder / "c").write_bytes(b"third")
    manifest.write_manifest(folder, SPEC)
    (folder / "a").write_bytes(b"third")
    (folder / "c").write_bytes(b"first")
    assert len(manifest.verify_folder(folder, SPEC)) == 2


def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ArtifactNotFound):
        manifest.open_folder(tmp_path / "no", SPEC)


def test_a_folder_of_another_kind_is_refused(folder: Path) -> None:
    with pytest.raises(ArtifactError, match="is not a skelepipe-other"):
        manifest.open_folder(folder, OTHER)


def test_a_manifest_deeper_down_is_a_file_like_any_other(folder: Path) -> None:
    (folder / "deep" / manifest.MANIFEST).write_bytes(b"{}")
    manifest.write_manifest(folder, SPEC)
    assert manifest.verify_folder(folder, SPEC) == []
    (folder / "deep" / manifest.MANIFEST).write_bytes(b"[]")
    assert manifest.verify_folder(folder, SPEC)


def test_a_file_in_the_place_of_a_folder_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"f: is a file, not the folder of a skelepipe-thing"):
        manifest.open_folder(tmp_path / "f", SPEC)


@pytest.mark.parametrize("name", [".DS_Store", "deep/.DS_Store", "deep/._b", "Thumbs.db", "desktop.ini", "@eaDir/a"])
def test_files_of_operating_systems_are_ignored(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"x")
    assert manifest.verify_folder(folder, SPEC) == []
    before = (folder / manifest.MANIFEST).read_bytes()
    manifest.write_manifest(folder, SPEC)
    assert (folder / manifest.MANIFEST).read_bytes() == before


def test_a_document_that_is_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "run.json")
    with pytest.raises(ArtifactError, match=r"run\.json: is a pipe, expected a regular file; make it again"):
        manifest.open_document(tmp_path / "run.json", SPEC)


def test_a_folder_that_cannot_be_listed_is_an_error_and_not_empty(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_to_list(folder / "deep", monkeypatch)
    with pytest.raises(PermissionError, match="deep"):
        manifest.open_folder(folder, SPEC)


def refuse_to_list(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let listing a folder fail as for a user without the permission; tests may run as root."""
    scandir = os.scandir

    def refuse(path: str) -> Iterator[os.DirEntry[str]]:
        if Path(path) == folder:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
