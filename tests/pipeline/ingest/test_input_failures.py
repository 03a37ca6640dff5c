"""An input that disappears or fails while it is read ends an ingest; nothing is published and the work is kept."""

import errno
import io
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.convert import convert as convert_module
from pipeline.convert.inputs import ConvertRequest
from pipeline.errors import InputFailed
from pipeline.files import regular_files
from pipeline.ingest import partitions
from pipeline.ingest.ingest import ingest
from pipeline.ingest.request import IngestProgress, IngestRequest
from pipeline.store.store import Store
from pipeline.synth.synth import write


def after_first(action: Callable[[], object]) -> Callable[[IngestProgress], None]:
    """Return a progress function that acts once, after the first partition."""
    actions = [action]
    return lambda tick: actions and actions.pop()()  # type: ignore[func-returns-value, return-value]


def test_a_raw_folder_that_disappears_stops_the_ingest_and_it_resumes(
    copy: Path, request_for: Callable[..., IngestRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "MAX_RECORDINGS", 2)
    request = request_for(copy, copy.parent / "out.zarr", workers=1)
    away = copy.with_name("unmounted")
    with pytest.raises(InputFailed, match="has disappeared since the recordings were listed; nothing was published"):
        ingest(request, after_first(lambda: copy.rename(away)))
    assert not request.output.exists()
    away.rename(copy)
    result = ingest(request)
    assert result.resumed_files >= 2
    assert (len(Store(request.output)), result.quarantined) == (12, [])


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENOTCONN, errno.ETIMEDOUT, errno.EMFILE])
def test_an_io_error_stops_the_ingest(
    copy: Path, request_for: Callable[..., IngestRequest], monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    broken = sorted(copy.iterdir())[3]
    fail_to_open(broken, code, monkeypatch)
    with pytest.raises(InputFailed, match=f"{broken.name}: cannot be read: {os.strerror(code)}; nothing was published"):
        ingest(request_for(copy, copy.parent / "out.zarr", workers=1))
    monkeypatch.undo()
    assert InputFailed.exit_code == 5
    assert ingest(request_for(copy, copy.parent / "out.zarr", workers=1)).clips == 12


def test_a_file_without_permission_is_quarantined(
    copy: Path, request_for: Callable[..., IngestRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_to_open(sorted(copy.iterdir())[3], errno.EACCES, monkeypatch)
    result = ingest(request_for(copy, copy.parent / "out.zarr", workers=1))
    assert [bad["reason"] for bad in result.quarantined] == ["cannot be read: Permission denied"]
    assert result.clips == 11


def test_an_io_error_in_the_middle_of_an_array_stops_the_ingest(
    tmp_path: Path, request_for: Callable[..., IngestRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    write("folder", tmp_path / "raw", clips=4, seed=0, broken=0)
    open_file = regular_files.open_file

    class Broken(io.FileIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 0:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().read(size) or b""

    def broken(path: Path) -> io.FileIO:
        return Broken(str(path)) if path.suffix == ".npy" else open_file(path)

    monkeypatch.setattr(regular_files, "open_file", broken)
    with pytest.raises(InputFailed, match="cannot be read: Input/output error"):
        ingest(replace(request_for(tmp_path / "raw", tmp_path / "out.zarr", workers=1), dataset="folder"))


def test_a_file_of_a_folder_data_set_that_disappears_stops_the_ingest(
    tmp_path: Path, request_for: Callable[..., IngestRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "MAX_RECORDINGS", 1)
    write("folder", tmp_path / "raw", clips=4, seed=0, broken=0)
    request = replace(request_for(tmp_path / "raw", tmp_path / "out.zarr", workers=1), dataset="folder")
    with pytest.raises(InputFailed, match="has disappeared"):
        ingest(request, after_first(lambda: shutil.rmtree(tmp_path / "raw" / "clips")))
    assert not request.output.exists()


def test_a_conversion_of_files_that_disappear_writes_nothing(tmp_path: Path) -> None:
    write("coco", tmp_path / "raw", clips=3, seed=0, broken=0)
    request = ConvertRequest(tool="coco", roots=(tmp_path / "raw",), output=tmp_path / "out")
    with pytest.raises(InputFailed, match="has disappeared"):
        convert_module.convert(request, lambda done, total: shutil.rmtree(tmp_path / "raw", ignore_errors=True))
    assert not request.output.exists()


def fail_to_open(path: Path, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let opening one file fail with an error number."""
    open_file = regular_files.open_file

    def fail(opened: Path) -> io.FileIO:
        if opened == path:
            raise OSError(code, os.strerror(code), str(opened))
        return open_file(opened)

    monkeypatch.setattr(regular_files, "open_file", fail)
