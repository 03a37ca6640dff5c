"""`--partition k/n` and `finalise`: the bytes of a plain ingest, and nobody's work destroyed."""

import dataclasses
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from test_ingest import Requests, bytes_of

from pipeline import ingest, jobs, manifest, partitions, plans, publish, recipe, work
from pipeline.errors import ArtifactError, ArtifactNotFound, OutputExists, OutputLocked, SkelepipeError
from pipeline.store import Store

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def small_partitions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitions, "RECORDINGS", 3)


@pytest.fixture
def ask(copy: Path, tmp_path: Path, request_for: Requests) -> Callable[..., ingest.Request]:
    """A request for `processed/s.zarr`."""
    return lambda name="clean", **options: request_for(copy, tmp_path / "processed" / "s.zarr", name, **options)


def touch(path: Path) -> None:
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 1))


def test_jobs_in_any_order_and_finalise_give_the_bytes_of_one_run(
    raw: Path, shared_store: Store, tmp_path: Path, request_for: Requests
) -> None:
    request = request_for(raw, tmp_path / "s.zarr", workers=1)
    reports = [jobs.run(request, (k, 4)) for k in (3, 1, 4, 2)]
    assert sum(report.source_files for report in reports) == 75
    assert sum(len(report.quarantined) for report in reports) == 3
    assert [report.unfinished for report in reports] == [19, 12, 6, 0]
    assert not request.output.exists()
    report = jobs.finalise(request.output)
    assert (report.outcome, report.clips, len(report.quarantined)) == ("ingested", 72, 3)
    assert bytes_of(request.output) == bytes_of(shared_store.path)
    assert {path.name for path in tmp_path.iterdir()} == {
        *(".LATEST.json.lock", ".s.zarr.lock"),
        *("LATEST.json", "s.zarr"),
    }
    assert jobs.finalise(request.output).outcome == "finished before"
    assert jobs.run(request, (1, 4)).outcome == "up to date"
    assert not work.beside(request.output).exists()


def test_a_job_that_is_done_says_so_and_one_without_a_share_too(ask: Callable[..., ingest.Request]) -> None:
    first = jobs.run(ask(), (1, 2))
    again = jobs.run(ask(), (1, 2))
    assert (first.resumed_files, again.resumed_files, again.partitions) == (0, 6, [0, 2])
    idle = jobs.run(ask(), (7, 9))
    assert (idle.partitions, idle.of, idle.unfinished) == ([], 4, 2)


def test_finalise_names_the_jobs_that_are_missing(ask: Callable[..., ingest.Request]) -> None:
    request = ask()
    jobs.run(request, (1, 3))
    with pytest.raises(
        ArtifactError, match=r"2 of 4 partitions are missing \(1, 2\).*run again --partition 2/3, --partition 3/3"
    ):
        jobs.finalise(request.output)
    jobs.run(request, (2, 2))
    with pytest.raises(ArtifactError, match=r"1 of 4 partitions are missing \(2\); nothing .*of these partitions"):
        jobs.finalise(request.output)  # of 3 or of 2? so by number
    jobs.run(request, (3, 3))
    assert jobs.finalise(request.output).clips == 12


def test_finalise_ends_an_interrupted_ingest_only_when_all_is_there(ask: Callable[..., ingest.Request]) -> None:
    def stop(files: int) -> Callable[[ingest.Tick], None]:
        def at(tick: ingest.Tick) -> None:
            if tick.files == files:
                raise KeyboardInterrupt

        return at

    with pytest.raises(KeyboardInterrupt):
        ingest.run(ask(workers=1), stop(3))
    with pytest.raises(ArtifactError, match=r"3 of 4 .*run the ingest again"):
        jobs.finalise(ask().output)
    with pytest.raises(KeyboardInterrupt):
        ingest.run(ask(workers=1), stop(12))
    assert jobs.finalise(ask().output).clips == 12


def test_a_job_of_another_plan_is_refused_and_destroys_nothing(
    copy: Path, ask: Callable[..., ingest.Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs.run(ask(), (1, 2))
    before = bytes_of(work.beside(ask().output))
    with pytest.raises(OutputExists, match=r"recipe clean there, none asked.*remove the folder, or name another --out"):
        jobs.run(ask("none"), (2, 2))
    with pytest.raises(OutputExists, match=r"recipe clean there, none asked.*--force"):
        ingest.run(ask("none"))
    with monkeypatch.context() as other:
        other.setattr("importlib.metadata.version", lambda name: "9.9")
        with pytest.raises(OutputExists, match=r"version 0.* there, 9\.9 asked"):
            jobs.run(ask(), (2, 2))
    with monkeypatch.context() as other:
        other.setattr(partitions, "RECORDINGS", 5)
        with pytest.raises(OutputExists, match=r"partitions of \[3, \d+\] there, \[5"):
            jobs.run(ask(), (2, 2))
    first, second, *_ = sorted(copy.iterdir())
    content = first.read_bytes()
    first.write_bytes(content + b"\n")
    second.rename(copy.parent / "away")
    with pytest.raises(
        OutputExists,
        match=f"1 recordings gone, first {second.stem}; 1 recordings changed or elsewhere, first {first.stem}",
    ):
        jobs.run(ask(), (2, 2))
    assert bytes_of(work.beside(ask().output)) == before
    assert ingest.run(ask("none", force=True)).outcome == "ingested"


def test_a_plain_ingest_takes_over_what_jobs_of_its_plan_have_done(ask: Callable[..., ingest.Request]) -> None:
    jobs.run(ask(), (1, 2))
    assert ingest.run(ask()).resumed_files == 6
    assert jobs.run(ask(), (2, 2)).outcome == "up to date"


def test_who_comes_while_a_job_is_at_work_is_turned_away(
    ask: Callable[..., ingest.Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "SETUP_SECONDS", 0.1)
    refused = []

    def meanwhile(tick: ingest.Tick) -> None:
        for attempt in (
            lambda: jobs.run(ask(), (1, 2)),
            lambda: ingest.run(ask()),
            lambda: ingest.run(ask("none", force=True)),
            lambda: jobs.finalise(ask().output),
        ):
            with pytest.raises(OutputLocked, match="1/2") as caught:
                attempt()
            refused.append(caught.value.exit_code)
        assert jobs.run(ask(), (2, 2)).source_files == 6  # another job may

    assert jobs.run(ask(workers=1), (1, 2), meanwhile).source_files == 6
    assert refused == [6] * 8
    assert jobs.finalise(ask().output).clips == 12


def test_a_job_waits_for_a_moment_and_then_leaves_a_whole_ingest_alone(
    ask: Callable[..., ingest.Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "SETUP_SECONDS", 0.1)
    with publish.sole_writer(ask().output), pytest.raises(OutputLocked, match="another process is writing it"):
        jobs.run(ask(), (1, 2))


def test_what_changed_between_jobs_and_finalise_is_named(copy: Path, ask: Callable[..., ingest.Request]) -> None:
    request = ask()
    for k in (1, 2):
        jobs.run(request, (k, 2))
    files = sorted(copy.iterdir())
    touch(files[4])
    with pytest.raises(
        ArtifactError,
        match=rf"missing \(1\); 1 recordings were changed since, first {files[4].stem}; .*--partition 2/2, then",
    ):
        jobs.finalise(request.output)
    assert jobs.run(request, (2, 2)).resumed_files == 3
    files[0].rename(copy.parent / "away")
    with pytest.raises(
        ArtifactError, match=rf"what the jobs read has changed \(1 recordings gone, first {files[0].stem}"
    ):
        jobs.finalise(request.output)
    (copy.parent / "away").rename(files[0])
    assert jobs.finalise(request.output).clips == 12


def test_a_store_that_is_there_is_replaced_only_when_both_are_forced(ask: Callable[..., ingest.Request]) -> None:
    old = ingest.run(ask("none"))
    with pytest.raises(OutputExists, match="recipe none there, clean asked"):
        jobs.run(ask(), (1, 1))
    jobs.run(ask(force=True), (1, 1))
    with pytest.raises(OutputExists, match="recipe none there, clean asked"):
        jobs.finalise(ask().output)
    assert Store(ask().output).digest == old.digest
    assert jobs.finalise(ask().output, force=True).digest != old.digest


def test_strict_is_decided_at_the_end_and_keeps_the_work(raw: Path, tmp_path: Path, request_for: Requests) -> None:
    request = request_for(raw, tmp_path / "s.zarr")
    jobs.run(request, (1, 1))
    with pytest.raises(SkelepipeError, match=r"3 of 75 .*--strict.*the work is kept in .*\.s\.zarr\.work"):
        jobs.finalise(request.output, strict=True)
    assert not request.output.exists()
    assert jobs.finalise(request.output).clips == 72


def test_which_output_waits_is_found_or_asked_for(ask: Callable[..., ingest.Request]) -> None:
    folder = ask().output.parent
    folder.mkdir()
    with pytest.raises(ArtifactNotFound, match="no ingest waits to be finished"):
        jobs.only_unfinished(folder)
    with pytest.raises(ArtifactNotFound, match="waits to be finished"):
        jobs.finalise(ask().output)
    jobs.run(ask(), (1, 1))
    assert jobs.only_unfinished(folder) == ask().output
    jobs.run(dataclasses.replace(ask(), output=folder / "t.zarr"), (1, 1))
    with pytest.raises(ArtifactError, match=r"several ingests wait .*s\.zarr, .*t\.zarr"):
        jobs.only_unfinished(folder)


def test_a_damaged_plan_is_named(ask: Callable[..., ingest.Request]) -> None:
    jobs.run(ask(), (1, 1))
    (work.beside(ask().output) / work.PLAN).write_bytes(b"{")
    with pytest.raises(ArtifactError, match=r"plan\.json: damaged"):
        jobs.finalise(ask().output)
    with pytest.raises(OutputExists, match="its plan is damaged"):
        jobs.run(ask(), (1, 1))


def test_jobs_started_at_once_share_one_work_folder(copy: Path, tmp_path: Path) -> None:
    """Four processes that race to make the folder; one plan, every partition once, the same bytes."""
    script = tmp_path / "job.py"
    script.write_text(
        "import sys, cli\nfrom pipeline import partitions\npartitions.RECORDINGS = 2\ncli.main(sys.argv[1:])\n"
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
    said = [json.loads(job.communicate(timeout=60)[0]) for job in running]
    assert [job.returncode for job in running] == [0] * 4
    assert sorted(number for report in said for number in report["partitions"]) == list(range(6))
    end = start("finalise --json")
    assert json.loads(end.communicate(timeout=60)[0])["clips"] == 12
    ingest.run(
        ingest.Request(dataset="ntu60", roots=(copy,), output=tmp_path / "plain.zarr", recipe=recipe.load("clean"))
    )
    assert bytes_of(tmp_path / "processed" / "ntu60.zarr") == bytes_of(tmp_path / "plain.zarr")


def test_a_straggler_of_a_run_that_has_ended_writes_nothing(copy: Path, ask: Callable[..., ingest.Request]) -> None:
    request = ask(workers=1)
    parts: list[Path] = []

    def look(tick: ingest.Tick) -> None:
        parts.extend(work.beside(request.output).rglob("part-00000.npz"))

    ingest.run(request, look)
    data = ingest.open_source("ntu60", (copy,))
    entries = data.survey(keep_missing=False).entries[:3]
    with pytest.raises(FileNotFoundError):
        partitions.run(parts[0], entries, data, request.recipe)
    jobs.run(ask("none", force=True), (1, 2))
    with pytest.raises(FileNotFoundError):  # nor into the work of another plan at the same place
        partitions.run(parts[0], entries, data, request.recipe)


@pytest.mark.parametrize("plan", [
    b"[" * 100_000, b"[]", b"7", b"null", b"{}", b'{"recipe": 3}', b'{"entries": [[]]}', b'{"store": "a"}', b"\xff",
])  # fmt: skip
def test_what_is_no_plan_serves_nobody_and_is_told(plan: bytes) -> None:
    recipe = {"recipe": {"name": "none", "steps": []}}
    plain = {"dataset": "ntu60", "tool": "0", "format_version": 1, "keep_missing": False, "partition": [1, 2]}
    asked = manifest.canonical({**plain, "recipe": recipe, "shared": "x", "entries": [["a", []]]})
    assert plans.differences(plan, asked) == ["its plan is damaged"]
    assert plans.core(plan) in (plan, b"{}", manifest.canonical(json.loads(plan)) if plan.startswith(b"{") else plan)


def test_a_partition_that_the_disk_does_not_give_is_not_called_damaged(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        partitions.read_motion(tmp_path)
    (tmp_path / "part.npz").write_bytes(b"no zip")
    with pytest.raises(ArtifactError, match=r"part\.npz: damaged"):
        partitions.read_motion(tmp_path / "part.npz")
