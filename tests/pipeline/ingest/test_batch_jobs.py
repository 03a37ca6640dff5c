"""`--partition k/n` and `finalise`: the same bytes as a single ingest, and no lost work."""

import dataclasses
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.artifacts import manifest
from pipeline.errors import ArtifactError, ArtifactNotFound, OutputExists, OutputLocked, SkelepipeError
from pipeline.files.locks import sole_writer
from pipeline.ingest import partitions, work_folder
from pipeline.ingest.batch_jobs import finalise, find_unfinished_output, run_job
from pipeline.ingest.ingest import ingest
from pipeline.ingest.partitions import process_partition, read_partition_motion
from pipeline.ingest.plan import plan_differences, without_roots
from pipeline.ingest.request import IngestProgress, IngestRequest
from pipeline.recipes.recipe import load_recipe
from pipeline.sources.registry import open_source
from pipeline.store.store import Store
from tests.pipeline.ingest.test_ingest import Requests, bytes_of

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def small_partitions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitions, "MAX_RECORDINGS", 3)


@pytest.fixture
def ask(copy: Path, tmp_path: Path, request_for: Requests) -> Callable[..., IngestRequest]:
    """A request for `processed/s.zarr`."""
    return lambda name="clean", **options: request_for(copy, tmp_path / "processed" / "s.zarr", name, **options)


def touch(path: Path) -> None:
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 1))


def test_jobs_in_any_order_and_finalise_give_the_bytes_of_one_run(
    raw: Path, shared_store: Store, tmp_path: Path, request_for: Requests
) -> None:
    request = request_for(raw, tmp_path / "s.zarr", workers=1)
    results = [run_job(request, (k, 4)) for k in (3, 1, 4, 2)]
    assert sum(result.source_files for result in results) == 75
    assert sum(len(result.quarantined) for result in results) == 3
    assert [result.unfinished for result in results] == [19, 12, 6, 0]
    assert not request.output.exists()
    result = finalise(request.output)
    assert (result.outcome, result.clips, len(result.quarantined)) == ("ingested", 72, 3)
    assert bytes_of(request.output) == bytes_of(shared_store.path)
    assert {path.name for path in tmp_path.iterdir()} == {
        *(".LATEST.json.lock", ".s.zarr.lock"),
        *("LATEST.json", "s.zarr"),
    }
    assert finalise(request.output).outcome == "finished before"
    assert run_job(request, (1, 4)).outcome == "up to date"
    assert not work_folder.work_path(request.output).exists()


def test_a_repeated_job_resumes_and_a_job_without_partitions_does_nothing(ask: Callable[..., IngestRequest]) -> None:
    first = run_job(ask(), (1, 2))
    again = run_job(ask(), (1, 2))
    assert (first.resumed_files, again.resumed_files, again.partitions) == (0, 6, [0, 2])
    idle = run_job(ask(), (7, 9))
    assert (idle.partitions, idle.of, idle.unfinished) == ([], 4, 2)


def test_finalise_names_the_jobs_that_are_missing(ask: Callable[..., IngestRequest]) -> None:
    request = ask()
    run_job(request, (1, 3))
    with pytest.raises(
        ArtifactError, match=r"2 of 4 partitions are missing \(1, 2\).*run again --partition 2/3, --partition 3/3"
    ):
        finalise(request.output)
    run_job(request, (2, 2))
    with pytest.raises(ArtifactError, match=r"1 of 4 partitions are missing \(2\); nothing .*of these partitions"):
        finalise(request.output)  # jobs of 3 and of 2: the jobs to repeat are unclear
    run_job(request, (3, 3))
    assert finalise(request.output).clips == 12


def test_finalise_completes_an_interrupted_ingest_if_no_partition_is_missing(
    ask: Callable[..., IngestRequest],
) -> None:
    def stop(files: int) -> Callable[[IngestProgress], None]:
        def at(tick: IngestProgress) -> None:
            if tick.files == files:
                raise KeyboardInterrupt

        return at

    with pytest.raises(KeyboardInterrupt):
        ingest(ask(workers=1), stop(3))
    with pytest.raises(ArtifactError, match=r"3 of 4 .*run the ingest again"):
        finalise(ask().output)
    with pytest.raises(KeyboardInterrupt):
        ingest(ask(workers=1), stop(12))
    assert finalise(ask().output).clips == 12


def test_a_job_of_another_plan_is_refused_and_keeps_the_work(
    copy: Path, ask: Callable[..., IngestRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_job(ask(), (1, 2))
    before = bytes_of(work_folder.work_path(ask().output))
    with pytest.raises(OutputExists, match=r"recipe is clean, requested none.*remove the folder, or name"):
        run_job(ask("none"), (2, 2))
    with pytest.raises(OutputExists, match=r"recipe is clean, requested none.*--force"):
        ingest(ask("none"))
    with monkeypatch.context() as other:
        other.setattr("importlib.metadata.version", lambda name: "9.9")
        with pytest.raises(OutputExists, match=r"version is 0.*, requested 9\.9"):
            run_job(ask(), (2, 2))
    with monkeypatch.context() as other:
        other.setattr(partitions, "MAX_RECORDINGS", 5)
        with pytest.raises(OutputExists, match=r"partition size is \[3, \d+\], requested \[5"):
            run_job(ask(), (2, 2))
    first, second, *_ = sorted(copy.iterdir())
    content = first.read_bytes()
    first.write_bytes(content + b"\n")
    second.rename(copy.parent / "away")
    with pytest.raises(
        OutputExists,
        match=f"1 recordings missing, first {second.stem}; 1 recordings changed or moved, first {first.stem}",
    ):
        run_job(ask(), (2, 2))
    assert bytes_of(work_folder.work_path(ask().output)) == before
    assert ingest(ask("none", force=True)).outcome == "ingested"


def test_a_single_ingest_reuses_the_partitions_of_jobs_with_the_same_plan(ask: Callable[..., IngestRequest]) -> None:
    run_job(ask(), (1, 2))
    assert ingest(ask()).resumed_files == 6
    assert run_job(ask(), (2, 2)).outcome == "up to date"


def test_other_commands_are_refused_while_a_job_is_running(
    ask: Callable[..., IngestRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work_folder, "SETUP_SECONDS", 0.1)
    refused = []

    def meanwhile(tick: IngestProgress) -> None:
        for attempt in (
            lambda: run_job(ask(), (1, 2)),
            lambda: ingest(ask()),
            lambda: ingest(ask("none", force=True)),
            lambda: finalise(ask().output),
        ):
            with pytest.raises(OutputLocked, match="1/2") as caught:
                attempt()
            refused.append(caught.value.exit_code)
        assert run_job(ask(), (2, 2)).source_files == 6  # another job is allowed

    assert run_job(ask(workers=1), (1, 2), meanwhile).source_files == 6
    assert refused == [6] * 8
    assert finalise(ask().output).clips == 12


def test_a_job_waits_briefly_for_a_running_ingest_and_is_then_refused(
    ask: Callable[..., IngestRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work_folder, "SETUP_SECONDS", 0.1)
    with sole_writer(ask().output), pytest.raises(OutputLocked, match="another process is writing it"):
        run_job(ask(), (1, 2))


def test_changes_between_jobs_and_finalise_are_named(copy: Path, ask: Callable[..., IngestRequest]) -> None:
    request = ask()
    for k in (1, 2):
        run_job(request, (k, 2))
    files = sorted(copy.iterdir())
    touch(files[4])
    with pytest.raises(
        ArtifactError,
        match=rf"missing \(1\); 1 recordings have changed since, first {files[4].stem}; .*--partition 2/2, then",
    ):
        finalise(request.output)
    assert run_job(request, (2, 2)).resumed_files == 3
    files[0].rename(copy.parent / "away")
    with pytest.raises(
        ArtifactError, match=rf"the input has changed since the jobs ran \(1 recordings missing, first {files[0].stem}"
    ):
        finalise(request.output)
    (copy.parent / "away").rename(files[0])
    assert finalise(request.output).clips == 12


def test_an_existing_store_is_replaced_only_if_job_and_finalise_are_forced(ask: Callable[..., IngestRequest]) -> None:
    old = ingest(ask("none"))
    with pytest.raises(OutputExists, match="recipe is none, requested clean"):
        run_job(ask(), (1, 1))
    run_job(ask(force=True), (1, 1))
    with pytest.raises(OutputExists, match="recipe is none, requested clean"):
        finalise(ask().output)
    assert Store(ask().output).digest == old.digest
    assert finalise(ask().output, force=True).digest != old.digest


def test_strict_is_applied_by_finalise_and_keeps_the_work(raw: Path, tmp_path: Path, request_for: Requests) -> None:
    request = request_for(raw, tmp_path / "s.zarr")
    run_job(request, (1, 1))
    with pytest.raises(SkelepipeError, match=r"3 of 75 .*--strict.*the work is kept in .*\.s\.zarr\.work"):
        finalise(request.output, strict=True)
    assert not request.output.exists()
    assert finalise(request.output).clips == 72


def test_the_only_unfinished_output_is_found_and_several_are_an_error(
    ask: Callable[..., IngestRequest],
) -> None:
    folder = ask().output.parent
    folder.mkdir()
    with pytest.raises(ArtifactNotFound, match="there is no unfinished ingest"):
        find_unfinished_output(folder)
    with pytest.raises(ArtifactNotFound, match="there is no unfinished ingest of"):
        finalise(ask().output)
    run_job(ask(), (1, 1))
    assert find_unfinished_output(folder) == ask().output
    run_job(dataclasses.replace(ask(), output=folder / "t.zarr"), (1, 1))
    with pytest.raises(ArtifactError, match=r"several unfinished ingests .*s\.zarr, .*t\.zarr"):
        find_unfinished_output(folder)


def test_a_damaged_plan_is_named(ask: Callable[..., IngestRequest]) -> None:
    run_job(ask(), (1, 1))
    (work_folder.work_path(ask().output) / work_folder.PLAN).write_bytes(b"{")
    with pytest.raises(ArtifactError, match=r"plan\.json: damaged"):
        finalise(ask().output)
    with pytest.raises(OutputExists, match="its plan is damaged"):
        run_job(ask(), (1, 1))


@pytest.mark.slow
def test_jobs_started_simultaneously_share_one_work_folder(copy: Path, tmp_path: Path) -> None:
    """Four processes race to create the folder: one plan, every partition processed once, the same bytes."""
    script = tmp_path / "job.py"
    script.write_text(
        "import sys, cli\nfrom pipeline.ingest import partitions\n"
        "partitions.MAX_RECORDINGS = 2\ncli.main(sys.argv[1:])\n"
    )

    def start(command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, script, *shlex.split(command)],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )

    running = [start(f"ingest ntu60 raw --partition {k}/4 --json") for k in (1, 2, 3, 4)]
    outputs = [json.loads(job.communicate(timeout=60)[0]) for job in running]
    assert [job.returncode for job in running] == [0] * 4
    assert sorted(number for output in outputs for number in output["partitions"]) == list(range(6))
    end = start("finalise --json")
    assert json.loads(end.communicate(timeout=60)[0])["clips"] == 12
    ingest(IngestRequest(dataset="ntu60", roots=(copy,), output=tmp_path / "plain.zarr", recipe=load_recipe("clean")))
    assert bytes_of(tmp_path / "processed" / "ntu60.zarr") == bytes_of(tmp_path / "plain.zarr")


def test_a_late_worker_of_an_ended_ingest_writes_nothing(copy: Path, ask: Callable[..., IngestRequest]) -> None:
    request = ask(workers=1)
    paths: list[Path] = []

    def record(tick: IngestProgress) -> None:
        paths.extend(work_folder.work_path(request.output).rglob("part-00000.npz"))

    ingest(request, record)
    data = open_source("ntu60", (copy,))
    entries = data.survey(keep_missing=False).entries[:3]
    with pytest.raises(FileNotFoundError):
        process_partition(paths[0], entries, data, request.recipe)
    run_job(ask("none", force=True), (1, 2))
    with pytest.raises(FileNotFoundError):  # nor into the work folder of another plan for the same output
        process_partition(paths[0], entries, data, request.recipe)


@pytest.mark.parametrize("plan", [
    b"[" * 100_000, b"[]", b"7", b"null", b"{}", b'{"recipe": 3}', b'{"entries": [[]]}', b'{"store": "a"}', b"\xff",
])  # fmt: skip
def test_a_damaged_plan_matches_no_other_and_is_reported(plan: bytes) -> None:
    recipe = {"recipe": {"name": "none", "steps": []}}
    plain = {"dataset": "ntu60", "tool": "0", "format_version": 1, "keep_missing": False, "partition": [1, 2]}
    asked = manifest.canonical_json({**plain, "recipe": recipe, "shared": "x", "entries": [["a", []]]})
    assert plan_differences(plan, asked) == ["its plan is damaged"]
    assert without_roots(plan) in (
        plan,
        b"{}",
        manifest.canonical_json(json.loads(plan)) if plan.startswith(b"{") else plan,
    )


def test_a_disk_error_is_not_reported_as_a_damaged_partition(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        list(read_partition_motion(tmp_path))
    (tmp_path / "part.npz").write_bytes(b"no zip")
    with pytest.raises(ArtifactError, match=r"part\.npz: damaged"):
        list(read_partition_motion(tmp_path / "part.npz"))
