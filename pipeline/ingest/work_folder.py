"""The work folder beside an output: the plan that it serves, the finished partitions, and the jobs at work in it.

Whoever makes, takes over or removes it holds the output's lock. Partitions lie in a folder named by the plan's digest
and nobody makes that folder but here, so a straggler of another plan, or of a run that has ended, can harm nothing.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.errors import ArtifactError, ArtifactNotFound, OutputExists, OutputLocked
from pipeline.files import atomic
from pipeline.files.disk import disk_errors, make_folder
from pipeline.files.locks import sole_writer
from pipeline.ingest.plan import plan_differences, without_roots

PLAN = "plan.json"
JOB = re.compile(r"\.job-(\d+)-of-(\d+)\.lock")
SETUP_SECONDS = 30.0
"""How long a job waits for others to enter: each takes a moment, the longest where the plan names 114,480 files."""


@dataclass(frozen=True)
class WorkFolder:
    """A work folder and the plan that it serves."""

    folder: Path
    plan: bytes

    @cached_property
    def parts(self) -> Path:
        """Where the plan's finished partitions lie."""
        return self.folder / hashlib.sha256(without_roots(self.plan)).hexdigest()[:16]

    @property
    def store(self) -> Path:
        """Where the store is assembled."""
        return self.folder / "store"


def work_path(output: Path) -> Path:
    """Where the work folder of an output lies."""
    return output.with_name(f".{output.name}.work")


def prepare_work(output: Path, plan: bytes, *, force: bool = False) -> WorkFolder:
    """The work folder of a plan; what an interrupted run of another plan left there is thrown away.

    Raises:
        OutputExists: partition jobs have worked there for another plan, and `force` is off.
        OutputLocked: partition jobs are at work there.
        OutputFailed: the disk refuses.
    """
    work = WorkFolder(work_path(output), plan)
    refuse_running_jobs(output)
    with disk_errors(output):
        if not _matches_plan(work):
            if not force and _jobs(work.folder):
                raise OutputExists(f"{_other_plan(work)}; finish that one, or --force throws it away")
            remove(output)
            _make(work)
        make_folder(work.parts)
        for partial in work.folder.rglob(".*.partial"):
            partial.unlink()
    return work


@contextmanager
def join_as_job(output: Path, plan: bytes, job: tuple[int, int]) -> Iterator[WorkFolder]:
    """Enter the work folder as job k of n, together with the other jobs; the caller holds the output's lock.

    The lock of the job is kept until the context ends; release the output's as soon as this has been entered.

    Raises:
        OutputExists: it serves another plan.
        OutputLocked: another process is at work as the same job.
        OutputFailed: the disk refuses.
    """
    work = WorkFolder(work_path(output), plan)
    with disk_errors(output):
        if (work.folder / PLAN).exists() and not _matches_plan(work):
            raise OutputExists(f"{_other_plan(work)}; finish that one, remove the folder, or name another --out")
        if not _matches_plan(work):
            remove(output)
            _make(work)
        make_folder(work.parts)
    with ExitStack() as held:
        try:
            held.enter_context(sole_writer(_job(work.folder, *job)))
        except OutputLocked:
            raise OutputLocked(
                f"{output}: another process is at work as partition {job[0]}/{job[1]}; let it end"
            ) from None
        yield work


def open_unfinished(output: Path) -> WorkFolder:
    """The work folder that an unfinished ingest has left beside an output.

    Raises:
        ArtifactNotFound: there is none.
        ArtifactError: its plan cannot be read.
    """
    folder = work_path(output)
    try:
        found = WorkFolder(folder, (folder / PLAN).read_bytes())
        plan_as_dict(found)
    except FileNotFoundError:
        raise ArtifactNotFound(folder, f"no ingest of {output} waits to be finished") from None
    except (ValueError, KeyError) as error:
        raise ArtifactError(f"{folder / PLAN}: damaged ({error}); remove {folder} and run the jobs again") from error
    return found


def plan_as_dict(work: WorkFolder) -> dict[str, Any]:
    """A plan as data."""
    found: dict[str, Any] = json.loads(work.plan)
    return found


def find_unfinished_outputs(folder: Path) -> list[Path]:
    """The outputs in a folder beside which a work folder waits."""
    found = [path for path in folder.glob(".*.work") if (path / PLAN).is_file()]
    return sorted(path.with_name(path.name.removeprefix(".").removesuffix(".work")) for path in found)


def known_jobs(work: WorkFolder) -> set[tuple[int, int]]:
    """The jobs, as (k, n), that have worked there."""
    return _jobs(work.folder)


def refuse_running_jobs(output: Path) -> None:
    """Make sure that no partition job is at work; the caller holds the output's lock, so none can enter.

    Raises:
        OutputLocked: one is.
    """
    for k, n in sorted(_jobs(work_path(output))):
        try:
            with sole_writer(_job(work_path(output), k, n)):
                pass
        except OutputLocked:
            raise OutputLocked(f"{output}: the job of --partition {k}/{n} is at work; let it end first") from None


def remove_if_same_plan(output: Path, plan: bytes) -> bool:
    """Remove what a plan whose store is published has left, as a kill right after publishing does; was there any?"""
    remove_leftovers(output)
    work = WorkFolder(work_path(output), plan)
    left = work.folder.exists() and (_matches_plan(work) or not (work.folder / PLAN).exists())
    if left:
        remove(output)
    return left


def remove(output: Path) -> None:
    """Remove the work folder of an output, its name first, so that what is left of it is never taken for work.

    Raises:
        OutputFailed: the disk refuses.
    """
    remove_leftovers(output)
    if work_path(output).exists():
        with disk_errors(work_path(output), outcome="it is of no use any more; remove it, or run the command again"):
            work_path(output).rename(_trash_path(output))
        remove_leftovers(output)


def remove_leftovers(output: Path) -> None:
    """Remove what an interrupted publishing or removal has left beside an output; the caller holds its lock."""
    atomic.remove_replaced(output)
    shutil.rmtree(_trash_path(output), ignore_errors=True)


def _make(work: WorkFolder) -> None:
    make_folder(work.folder)
    atomic.write_file(work.folder / PLAN, work.plan)


def _trash_path(output: Path) -> Path:
    return output.with_name(f".{output.name}.spent")


def _job(folder: Path, k: int, n: int) -> Path:
    return folder / f"job-{k}-of-{n}"


def _jobs(folder: Path) -> set[tuple[int, int]]:
    found = [JOB.fullmatch(path.name) for path in folder.glob(".job-*.lock")]
    return {(int(match[1]), int(match[2])) for match in found if match}


def _matches_plan(work: WorkFolder) -> bool:
    if not (work.folder / PLAN).is_file():
        return False
    content = (work.folder / PLAN).read_bytes()
    return content == work.plan or without_roots(content) == without_roots(work.plan)


def _other_plan(work: WorkFolder) -> str:
    differences = plan_differences((work.folder / PLAN).read_bytes(), work.plan)
    return f"{work.folder}: holds the work of another ingest ({'; '.join(differences)})"
