"""The work folder next to an output: the plan of an unfinished ingest, its finished partitions, and job locks.

A process holds the output's lock while it creates, takes over or removes the work folder. The partitions are in a
subfolder named by the plan's digest, which only this module creates. A late worker of another plan, or of an ingest
that has ended, therefore finds no folder to write to and cannot do harm.
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
from pipeline.files.regular_files import read_bytes
from pipeline.ingest.plan import plan_differences, without_roots

PLAN = "plan.json"
JOB_LOCK = re.compile(r"\.job-(\d+)-of-(\d+)\.lock")
SETUP_SECONDS = 30.0
"""How long a job waits while other jobs enter: each takes a moment, the longest where the plan lists 114,480 files."""


@dataclass(frozen=True)
class WorkFolder:
    """A work folder and the plan that it belongs to."""

    folder: Path
    plan: bytes

    @cached_property
    def partitions(self) -> Path:
        """Folder of the plan's finished partitions."""
        return self.folder / hashlib.sha256(without_roots(self.plan)).hexdigest()[:16]

    @property
    def store(self) -> Path:
        """Folder in which the store is assembled."""
        return self.folder / "store"


def work_path(output: Path) -> Path:
    """Return the path of an output's work folder."""
    return output.with_name(f".{output.name}.work")


def prepare_work(output: Path, plan: bytes, *, force: bool = False) -> WorkFolder:
    """Create or take over the work folder of a plan; discard what an interrupted ingest with another plan left there.

    Raises:
        OutputExists: partition jobs of another plan have worked there, and `force` is off.
        OutputLocked: partition jobs are running there.
        OutputFailed: the disk refuses.
    """
    work = WorkFolder(work_path(output), plan)
    refuse_running_jobs(output)
    with disk_errors(output):
        if not _matches_plan(work):
            if not force and _find_jobs(work.folder):
                raise OutputExists(f"{_other_plan(work)}; finish that ingest, or discard its work with --force")
            remove(output)
            _create(work)
        make_folder(work.partitions)
        for partial in work.folder.rglob(".*.partial"):
            partial.unlink()
    return work


@contextmanager
def join_as_job(output: Path, plan: bytes, job: tuple[int, int]) -> Iterator[WorkFolder]:
    """Enter the work folder as job k of n, together with the other jobs; the caller holds the output's lock.

    The job's own lock is held until the context ends. The caller can release the output's lock right after entering.

    Raises:
        OutputExists: the folder belongs to another plan.
        OutputLocked: another process is running the same job.
        OutputFailed: the disk refuses.
    """
    work = WorkFolder(work_path(output), plan)
    with disk_errors(output):
        if (work.folder / PLAN).exists() and not _matches_plan(work):
            raise OutputExists(f"{_other_plan(work)}; finish that ingest, remove the folder, or name another --out")
        if not _matches_plan(work):
            remove(output)
            _create(work)
        make_folder(work.partitions)
    with ExitStack() as stack:
        try:
            stack.enter_context(sole_writer(_job_path(work.folder, *job)))
        except OutputLocked:
            raise OutputLocked(
                f"{output}: another process is running --partition {job[0]}/{job[1]}; wait until it ends"
            ) from None
        yield work


def open_unfinished(output: Path) -> WorkFolder:
    """Open the work folder of an unfinished ingest.

    Raises:
        ArtifactNotFound: there is none.
        ArtifactError: its plan cannot be read.
    """
    folder = work_path(output)
    try:
        work = WorkFolder(folder, read_bytes(folder / PLAN))
        plan_as_dict(work)
    except FileNotFoundError:
        raise ArtifactNotFound(folder, f"there is no unfinished ingest of {output}") from None
    except (ValueError, KeyError) as error:
        raise ArtifactError(f"{folder / PLAN}: damaged ({error}); remove {folder} and run the jobs again") from error
    return work


def plan_as_dict(work: WorkFolder) -> dict[str, Any]:
    """Return the plan of a work folder as parsed JSON."""
    plan: dict[str, Any] = json.loads(work.plan)
    return plan


def find_unfinished_outputs(folder: Path) -> list[Path]:
    """List the outputs in a folder that have a work folder."""
    works = [path for path in folder.glob(".*.work") if (path / PLAN).is_file()]
    return sorted(path.with_name(path.name.removeprefix(".").removesuffix(".work")) for path in works)


def known_jobs(work: WorkFolder) -> set[tuple[int, int]]:
    """Return the jobs, as (k, n), that have worked in a work folder."""
    return _find_jobs(work.folder)


def refuse_running_jobs(output: Path) -> None:
    """Check that no partition job is running; the caller holds the output's lock, so no job can enter.

    Raises:
        OutputLocked: a job is running.
    """
    for k, n in sorted(_find_jobs(work_path(output))):
        try:
            with sole_writer(_job_path(work_path(output), k, n)):
                pass
        except OutputLocked:
            raise OutputLocked(
                f"{output}: the job of --partition {k}/{n} is still running; wait until it ends"
            ) from None


def remove_if_same_plan(output: Path, plan: bytes) -> bool:
    """Remove a work folder whose store is published already (the process was killed in between); was there one?"""
    remove_leftovers(output)
    work = WorkFolder(work_path(output), plan)
    is_leftover = work.folder.exists() and (_matches_plan(work) or not (work.folder / PLAN).exists())
    if is_leftover:
        remove(output)
    return is_leftover


def remove(output: Path) -> None:
    """Remove the work folder of an output. It is renamed first, so that a half-removed folder is never used as work.

    Raises:
        OutputFailed: the disk refuses.
    """
    remove_leftovers(output)
    if work_path(output).exists():
        with disk_errors(work_path(output), outcome="it is no longer needed; remove it, or run the command again"):
            work_path(output).rename(_trash_path(output))
        remove_leftovers(output)


def remove_leftovers(output: Path) -> None:
    """Remove what an interrupted publication or removal left next to an output; the caller holds the output's lock."""
    atomic.remove_replaced(output)
    shutil.rmtree(_trash_path(output), ignore_errors=True)


def _create(work: WorkFolder) -> None:
    make_folder(work.folder)
    atomic.write_file(work.folder / PLAN, work.plan)


def _trash_path(output: Path) -> Path:
    return output.with_name(f".{output.name}.spent")


def _job_path(folder: Path, k: int, n: int) -> Path:
    return folder / f"job-{k}-of-{n}"


def _find_jobs(folder: Path) -> set[tuple[int, int]]:
    matches = [JOB_LOCK.fullmatch(path.name) for path in folder.glob(".job-*.lock")]
    return {(int(match[1]), int(match[2])) for match in matches if match}


def _matches_plan(work: WorkFolder) -> bool:
    if not (work.folder / PLAN).is_file():
        return False
    content = read_bytes(work.folder / PLAN)
    return content == work.plan or without_roots(content) == without_roots(work.plan)


def _other_plan(work: WorkFolder) -> str:
    differences = plan_differences(read_bytes(work.folder / PLAN), work.plan)
    return f"{work.folder}: contains the work of another ingest ({'; '.join(differences)})"
