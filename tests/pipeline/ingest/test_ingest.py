import dataclasses
import errno
import hashlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ArtifactError, ArtifactNotFound, OutputExists, SkelepipeError
from pipeline.ingest import partitions
from pipeline.ingest.ingest import dry_run, ingest
from pipeline.ingest.partitions import read_partition, read_partition_motion
from pipeline.ingest.request import IngestProgress, IngestRequest
from pipeline.recipes.recipe import load_recipe
from pipeline.sources.ntu.names import missing_names
from pipeline.store.build_splits import build_splits
from pipeline.store.splits import find_split
from pipeline.store.store import Store
from pipeline.synth.ntu import write_ntu

Requests = Callable[..., IngestRequest]


def bytes_of(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def interrupt_after_one_partition(request: IngestRequest) -> None:
    def stop(tick: IngestProgress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest(request, stop)


def test_the_golden_files_give_the_clips_of_skelemixclr(golden: Path, tmp_path: Path, request_for: Requests) -> None:
    ingest(request_for(golden / "raw", tmp_path / "s.zarr", "skelemixclr"))
    store = Store(tmp_path / "s.zarr")
    wanted = np.load(golden / "recipes.npz")
    assert len(store) == 11
    for name, clip in zip(store.names, store.clips(), strict=True):
        padded = np.zeros((2, 64, 25, 3), np.float32)
        padded[: len(clip)] = clip
        np.testing.assert_allclose(padded.transpose(3, 1, 2, 0), wanted[f"skelemixclr-64/{name}"], atol=1e-5, rtol=0)


def test_labels_come_from_the_names(shared_store: Store) -> None:
    for row, name in enumerate(shared_store.names):
        columns = {
            column: int(shared_store.columns[column][row])
            for column in ("setup", "camera", "subject", "replication", "label")
        }
        assert name == "S{setup:03d}C{camera:03d}P{subject:03d}R{replication:03d}A{action:03d}".format(
            **columns, action=columns["label"] + 1
        )
    assert shared_store.names == sorted(shared_store.names)


def test_damaged_files_are_quarantined_by_name_and_line_and_the_rest_is_ingested(shared_store: Store) -> None:
    assert len(shared_store) == 72
    assert {type(bad["line"]) for bad in shared_store.quarantine} == {int}


def test_bytes_do_not_depend_on_place_workers_or_nesting(
    raw: Path, shared_store: Store, tmp_path: Path, request_for: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    nested = tmp_path / "elsewhere"
    for path in raw.iterdir():
        target = nested / path.name[:4] / path.name[4:8] / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    ingest(request_for(nested, tmp_path / "other.zarr", workers=2))
    monkeypatch.setattr(partitions, "MAX_RECORDINGS", 5)
    ingest(request_for(raw, tmp_path / "small.zarr", workers=1))
    assert bytes_of(tmp_path / "other.zarr") == bytes_of(shared_store.path) == bytes_of(tmp_path / "small.zarr")


def test_zips_as_shipped_give_the_same_bytes_as_loose_files(
    raw: Path, shared_store: Store, tmp_path: Path, request_for: Requests
) -> None:
    files = sorted(raw.iterdir())
    (tmp_path / "raw").mkdir()
    for archive, members in (("nturgbd_skeletons_s001_to_s017.zip", files[:40]), ("more.ZIP", files[40:70])):
        with zipfile.ZipFile(tmp_path / "raw" / archive, "w", zipfile.ZIP_DEFLATED) as packed:
            for file in members:
                packed.write(file, f"nturgb+d_skeletons/{file.name}")
    for file in files[70:]:
        shutil.copy(file, tmp_path / "raw")
    request = request_for(tmp_path / "raw", tmp_path / "zipped.zarr", workers=2)
    ingest(request)
    assert bytes_of(tmp_path / "zipped.zarr") == bytes_of(shared_store.path)
    assert sorted(path.name for path in (tmp_path / "raw").iterdir()) == sorted(
        ["nturgbd_skeletons_s001_to_s017.zip", "more.ZIP", *(file.name for file in files[70:])]
    )
    assert ingest(request).outcome == "up to date"


def test_a_sample_found_both_loose_and_in_a_zip_is_refused_with_both_paths(
    copy: Path, tmp_path: Path, request_for: Requests
) -> None:
    first = min(copy.iterdir())
    with zipfile.ZipFile(copy / "again.zip", "w") as packed:
        packed.write(first, f"inner/{first.name}")
    both = rf"{first.stem}: found twice, as {first} and {copy}/again.zip: inner/{first.name}; keep one"
    with pytest.raises(SkelepipeError, match=re.escape(both)):
        ingest(request_for(copy, tmp_path / "s.zarr"))


def test_a_damaged_zip_member_is_quarantined_and_the_rest_is_ingested(
    copy: Path, tmp_path: Path, request_for: Requests
) -> None:
    files = sorted(copy.iterdir())
    with zipfile.ZipFile(tmp_path / "set.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for file in files:
            packed.write(file, file.name)
    data = bytearray((tmp_path / "set.zip").read_bytes())
    data[data.index(files[3].name.encode()) + 2000] ^= 1
    (tmp_path / "set.zip").write_bytes(data)
    result = ingest(request_for(tmp_path / "set.zip", tmp_path / "s.zarr"))
    assert result.clips == len(files) - 1
    assert [bad["file"] for bad in result.quarantined] == [files[3].name]
    assert "cannot be unpacked" in result.quarantined[0]["reason"]


def test_ntu120_includes_all_recordings_and_ntu60_its_subset(tmp_path: Path, request_for: Requests) -> None:
    write_ntu("ntu120", tmp_path / "raw", clips=100, seed=0)
    both = request_for(tmp_path / "raw", tmp_path / "ntu120.zarr")
    result = ingest(dataclasses.replace(both, dataset="ntu120"))
    assert (result.clips, result.left_out) == (100, {})
    store = Store(tmp_path / "ntu120.zarr")
    assert {split.name: split.disjoint_column for split in build_splits(store).splits} == {
        "xsub": "subject",
        "xset": "setup",
    }
    xset = find_split(store, "xset")
    assert set(store.columns["setup"][xset.train] % 2) == {0}
    assert set(store.columns["setup"][xset.test] % 2) == {1}
    old = ingest(request_for(tmp_path / "raw", tmp_path / "ntu60.zarr"))
    new = sum(setup > 17 for setup in store.columns["setup"])
    assert 0 < new < 100
    assert (old.clips, old.left_out) == (100 - new, {"setups after S017": new})


def test_running_again_writes_nothing(copy: Path, tmp_path: Path, request_for: Requests) -> None:
    first = ingest(request_for(copy, tmp_path / "p" / "s.zarr"))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "p").rglob("*")}
    again = ingest(request_for(copy, tmp_path / "p" / "s.zarr"))
    assert (first.outcome, again.outcome) == ("ingested", "up to date")
    assert first.digest == again.digest
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "p").rglob("*")} == before


def test_changed_input_is_refused_with_the_difference_and_forced(
    copy: Path, tmp_path: Path, request_for: Requests
) -> None:
    request = request_for(copy, tmp_path / "s.zarr")
    before = ingest(request)
    files = sorted(copy.iterdir())
    text = files[0].read_bytes()
    at = text.index(b"\n", 2000) - 30
    files[0].write_bytes(text[:at] + text[at:].replace(b"1", b"2", 1))  # same size, another number
    files[1].unlink()
    with pytest.raises(
        OutputExists, match=f"1 recordings missing, first {files[1].stem}; 1 recordings changed, first {files[0].stem}"
    ):
        ingest(request)
    with pytest.raises(OutputExists, match="recipe is clean, requested skelemixclr"):
        ingest(request_for(copy, tmp_path / "s.zarr", "skelemixclr"))
    forced = ingest(request_for(copy, tmp_path / "s.zarr", force=True))
    assert forced.outcome == "ingested"
    assert forced.digest != before.digest


def test_a_folder_that_is_not_a_store_is_never_replaced(copy: Path, tmp_path: Path, request_for: Requests) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputExists, match="is not a skelepipe store"):
        ingest(request_for(copy, tmp_path / "mine", force=True))
    assert (tmp_path / "mine" / "thesis.tex").exists()


def test_an_interrupted_ingest_resumes_and_gives_the_same_bytes(
    copy: Path, tmp_path: Path, request_for: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "MAX_RECORDINGS", 3)
    ingest(request_for(copy, tmp_path / "whole.zarr", workers=1))
    request = request_for(copy, tmp_path / "cut.zarr", workers=1)

    def stop(tick: IngestProgress) -> None:
        if tick.files == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest(request, stop)
    assert not (tmp_path / "cut.zarr").exists()
    result = ingest(request)
    assert result.resumed_files == 6
    assert bytes_of(tmp_path / "cut.zarr") == bytes_of(tmp_path / "whole.zarr")
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".work")]


def test_a_partition_is_repeated_when_its_input_was_modified(
    copy: Path, tmp_path: Path, request_for: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "MAX_RECORDINGS", 3)
    request = request_for(copy, tmp_path / "s.zarr", workers=1)
    interrupt_after_one_partition(request)
    first = sorted(copy.iterdir())[0]
    os.utime(first, ns=(first.stat().st_atime_ns, first.stat().st_mtime_ns + 1))
    assert ingest(request).resumed_files == 0


def test_strict_publishes_nothing_if_a_recording_is_quarantined(
    raw: Path, tmp_path: Path, request_for: Requests
) -> None:
    with pytest.raises(SkelepipeError, match="3 of 75 recordings quarantined, nothing published"):
        ingest(request_for(raw, tmp_path / "s.zarr", strict=True))
    assert not (tmp_path / "s.zarr").exists()


def test_no_usable_recording_is_an_error_with_the_reasons(tmp_path: Path, request_for: Requests) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "S001C001P001R001A001.skeleton").write_text("")
    (tmp_path / "raw" / "S001C001P001R001A002.skeleton").write_text("1\nmany\n")
    reasons = r"no usable recording\): S001C001P001R001A001.skeleton: the file is empty.*A002.skeleton:2: "
    with pytest.raises(SkelepipeError, match=reasons):
        ingest(request_for(tmp_path / "raw", tmp_path / "s.zarr"))


def test_officially_missing_samples_are_left_out_unless_kept(copy: Path, tmp_path: Path, request_for: Requests) -> None:
    name = min(missing_names())
    shutil.copy(sorted(copy.iterdir())[0], copy / f"{name}.skeleton")
    result = dry_run(request_for(copy, tmp_path / "s.zarr"))
    assert (result.missing, result.source_files) == ((name,), 12)
    kept = dry_run(request_for(copy, tmp_path / "s.zarr", keep_missing=True))
    assert (kept.missing, kept.source_files) == ((), 13)


def test_other_setups_and_other_files_are_left_out_and_counted(
    copy: Path, tmp_path: Path, request_for: Requests
) -> None:
    one = sorted(copy.iterdir())[0]
    shutil.copy(one, copy / "S018C001P008R001A061.skeleton")
    (copy / "readme.txt").write_text("hello")
    result = dry_run(request_for(copy, tmp_path / "s.zarr"))
    assert result.left_out == {"setups after S017": 1, "not .skeleton": 1}
    assert result.source_files == 12


def test_a_sample_in_two_folders_is_refused_with_both_paths(copy: Path, tmp_path: Path, request_for: Requests) -> None:
    one = sorted(copy.iterdir())[0]
    (copy / "again").mkdir()
    shutil.copy(one, copy / "again")
    with pytest.raises(SkelepipeError, match=f"{one.stem}: found twice, as .* and .*again.*; keep one"):
        ingest(request_for(copy, tmp_path / "s.zarr"))


def test_a_recording_of_a_class_that_does_not_exist_is_quarantined(
    copy: Path, tmp_path: Path, request_for: Requests
) -> None:
    shutil.copy(sorted(copy.iterdir())[0], copy / "S001C001P001R001A061.skeleton")
    result = ingest(request_for(copy, tmp_path / "s.zarr"))
    assert [bad["name"] for bad in result.quarantined] == ["S001C001P001R001A061"]
    assert "class A061 does not exist in ntu60" in result.quarantined[0]["reason"]


def test_files_with_other_names_are_ignored_and_listed(copy: Path, tmp_path: Path, request_for: Requests) -> None:
    for name in ("joints.skeleton", "order of joints.skeleton", "README.txt"):
        (copy / name).write_text("hip, knee, ankle")
    result = ingest(request_for(copy, tmp_path / "s.zarr"))
    assert result.quarantined == []
    assert result.left_out == {
        "not .skeleton": 1,
        "not named like S001C001P001R001A001.skeleton, first joints.skeleton": 2,
    }


def test_names_are_matched_case_insensitively(copy: Path, tmp_path: Path, request_for: Requests) -> None:
    first, second, *_ = sorted(copy.iterdir())
    (tmp_path / "any case").mkdir()
    shutil.copy(first, tmp_path / "any case" / first.name.lower())
    shutil.copy(second, tmp_path / "any case" / second.name.upper())
    shutil.copy(second, tmp_path / "any case" / f"{min(missing_names()).lower()}.skeleton")
    result = ingest(request_for(tmp_path / "any case", tmp_path / "s.zarr"))
    assert result.missing == (min(missing_names()),)
    assert Store(tmp_path / "s.zarr").names == [first.stem, second.stem]
    shutil.copy(first, tmp_path / "any case")
    with pytest.raises(SkelepipeError, match=f"{first.stem}: found twice, as .*; keep one"):
        ingest(request_for(tmp_path / "any case", tmp_path / "s.zarr"))


def test_missing_and_empty_folders_are_reported(tmp_path: Path, request_for: Requests) -> None:
    with pytest.raises(ArtifactNotFound, match="name the folder that holds the recordings"):
        ingest(request_for(tmp_path / "none", tmp_path / "s.zarr"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SkelepipeError, match=r"no ntu60 recording there \(nothing at all\)"):
        ingest(request_for(tmp_path / "empty", tmp_path / "s.zarr"))


def test_links_are_followed_once(copy: Path, tmp_path: Path, request_for: Requests) -> None:
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "data").symlink_to(copy)
    (copy / "loop").symlink_to(tmp_path / "linked")
    assert dry_run(request_for(tmp_path / "linked", tmp_path / "s.zarr")).source_files == 12


def test_a_users_recipe_is_stored_in_full(copy: Path, tmp_path: Path, request_for: Requests) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text('name = "mine"\n[[steps]]\nstep = "bodies_by_slot"\n[[steps]]\nstep = "resize"\nframes = 20\n')
    ingest(request_for(copy, tmp_path / "s.zarr", str(mine)))
    store = Store(tmp_path / "s.zarr")
    assert store.attributes["recipe"] == load_recipe(str(mine)).resolved
    assert set(store.columns["frames"].tolist()) == {20}


def test_a_broken_link_is_quarantined_and_a_special_file_left_out(
    copy: Path, tmp_path: Path, request_for: Requests
) -> None:
    (copy / "S001C001P001R001A044.skeleton").symlink_to("nowhere")
    os.mkfifo(copy / "S001C001P001R001A045.skeleton")  # opening it would block for ever
    result = ingest(request_for(copy, tmp_path / "s.zarr"))
    assert result.left_out == {"not a regular file": 1}
    assert [bad["name"] for bad in result.quarantined] == ["S001C001P001R001A044"]
    assert "cannot be read: No such file" in result.quarantined[0]["reason"]


def test_an_unreadable_folder_is_an_error_and_not_a_smaller_store(
    copy: Path, tmp_path: Path, request_for: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    (copy / "closed").mkdir()
    whole = os.scandir

    def scandir(path: object) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return whole(path)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "scandir", scandir)  # root can read every folder
    with pytest.raises(PermissionError, match="closed"):
        ingest(request_for(copy, tmp_path / "s.zarr"))


def test_an_empty_output_folder_is_used(copy: Path, tmp_path: Path, request_for: Requests) -> None:
    (tmp_path / "s.zarr").mkdir()
    assert ingest(request_for(copy, tmp_path / "s.zarr")).outcome == "ingested"


@pytest.mark.parametrize("force", [False, True])
def test_another_programs_zarr_group_is_never_replaced(
    copy: Path, tmp_path: Path, request_for: Requests, force: bool
) -> None:
    (tmp_path / "theirs.zarr").mkdir()
    (tmp_path / "theirs.zarr" / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group"}')
    with pytest.raises(OutputExists, match="is not a skelepipe store and will not be replaced"):
        ingest(request_for(copy, tmp_path / "theirs.zarr", force=force))
    assert [path.name for path in (tmp_path / "theirs.zarr").iterdir()] == ["zarr.json"]


def test_leftovers_of_a_kill_right_after_publishing_are_removed_by_the_next_ingest(
    copy: Path, tmp_path: Path, request_for: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = request_for(copy, tmp_path / "p" / "s.zarr", force=True)
    ingest(request)

    def killed(made: Path, output: Path) -> None:
        output.rename(output.with_name(f".{output.name}.replaced"))
        made.rename(output)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("pipeline.ingest.assemble.atomic.publish_folder", killed)
        with pytest.raises(KeyboardInterrupt):
            ingest(request)
    assert ingest(request_for(copy, tmp_path / "p" / "s.zarr")).outcome == "up to date"
    assert {path.name for path in (tmp_path / "p").iterdir()} == {
        *(".LATEST.json.lock", ".s.zarr.lock"),
        *("LATEST.json", "s.zarr"),
    }


def test_workers_exit_when_their_parent_is_killed(raw: Path, tmp_path: Path) -> None:
    script = "\n".join(
        [
            "import os, signal, sys",
            "from pathlib import Path",
            "from pipeline.ingest import partitions",
            "from pipeline.ingest.ingest import ingest",
            "from pipeline.ingest.request import IngestRequest",
            "from pipeline.recipes.recipe import load_recipe",
            "partitions.MAX_RECORDINGS = 5",
            "def die(tick):",
            "    import multiprocessing",
            "    print(*(child.pid for child in multiprocessing.active_children()), flush=True)",
            "    os.kill(os.getpid(), signal.SIGKILL)",
            "if __name__ == '__main__':",
            "    request = IngestRequest(dataset='ntu60', roots=(Path(sys.argv[1]),), output=Path(sys.argv[2]),",
            "                             recipe=load_recipe('clean'), workers=2)",
            "    ingest(request, die)",
        ]
    )
    (tmp_path / "killed.py").write_text(script)
    command = [sys.executable, str(tmp_path / "killed.py"), str(raw), str(tmp_path / "s.zarr")]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    with (tmp_path / "stdout").open("w") as stdout:  # a pipe would stay open as long as the workers live
        killed = subprocess.run(command, env=environment, stdout=stdout)
    assert killed.returncode == -signal.SIGKILL
    workers = [Path("/proc", number) for number in (tmp_path / "stdout").read_text().split()]
    assert len(workers) == 2
    deadline = time.monotonic() + 300
    while any(worker.exists() and "zombie" not in (worker / "status").read_text() for worker in workers):
        assert time.monotonic() < deadline, "workers live on without their parent"
        time.sleep(0.05)


def test_a_damaged_partition_is_repeated_or_named(
    copy: Path, tmp_path: Path, request_for: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "MAX_RECORDINGS", 3)
    request = request_for(copy, tmp_path / "s.zarr", workers=1)
    interrupt_after_one_partition(request)
    (path,) = (tmp_path / ".s.zarr.work").rglob("part-00000.npz")
    whole = path.read_bytes()
    path.write_bytes(whole[:1000])
    assert ingest(request).resumed_files == 0
    path.parent.mkdir(parents=True)
    path.write_bytes(whole[: len(whole) // 2] + b"?" + whole[len(whole) // 2 + 1 :])
    with pytest.raises(ArtifactError, match=r"part-00000.npz: damaged .*remove it and run the same command again"):
        list(read_partition_motion(path))


@pytest.mark.parametrize(("old", "new"), [
    (b"'shape': (1, ", b"'shape': ((1,"),  # a header on which Python's tokenizer fails
    (b"\x93NUMPY\x01", b"\x93NUMPY\x09"),
])  # fmt: skip
def test_a_partition_that_numpy_cannot_parse_is_damaged(tmp_path: Path, old: bytes, new: bytes) -> None:
    made = io.BytesIO()
    np.save(made, np.ones((1, 24), np.int64))
    assert old in made.getvalue()
    with zipfile.ZipFile(tmp_path / "part.npz", "w") as archive:
        archive.writestr("columns.npy", made.getvalue().replace(old, new))
        archive.writestr("note.npy", b"")
    with pytest.raises(ArtifactError, match=r"part.npz: damaged .*remove it and run the same command again"):
        read_partition(tmp_path / "part.npz")


def test_a_partition_with_an_unknown_compression_method_is_damaged(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "part.npz", "w") as archive:
        archive.writestr("xyz.npy", b"x" * 99)
    whole = (tmp_path / "part.npz").read_bytes()
    at = whole.index(b"PK\x01\x02") + 10
    (tmp_path / "part.npz").write_bytes(whole[:at] + b"\x63\x00" + whole[at + 2 :])
    with pytest.raises(ArtifactError, match=r"part.npz: damaged \(.*remove it and run the same command again"):
        list(read_partition_motion(tmp_path / "part.npz"))
