"""Recordings to a store: survey, partitions, assembly in input order, one rename.

The store's bytes depend on the recordings and the recipe alone: not on the number of workers, on interruptions, on the
place or the time.
"""

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace

from pipeline.files.locks import sole_writer
from pipeline.ingest import dask_cluster, existing_store, work_folder
from pipeline.ingest.assemble import finish_ingest
from pipeline.ingest.estimate import estimate_ingest
from pipeline.ingest.execute import run_partitions, worker_count
from pipeline.ingest.existing_store import report_up_to_date
from pipeline.ingest.partitions import split_into_partitions
from pipeline.ingest.plan import make_plan
from pipeline.ingest.request import IngestProgress, IngestRequest, IngestResult, describe
from pipeline.sources.registry import open_source


def ingest(request: IngestRequest, progress: Callable[[IngestProgress], None] = lambda tick: None) -> IngestResult:
    """Make the store that `request` describes, or find that it is there already.

    Raises:
        OutputExists: the output was made from other input (the text says what differs) and `force` is off.
        OutputLocked: another process is writing it.
        OutputFailed: the disk refuses.
        SkelepipeError: nothing usable was found, or `strict` and something could not be used.
    """
    started = time.perf_counter()
    with dask_cluster.connect_cluster(request.dask) if request.dask else nullcontext() as client:
        if client is not None:  # workers have working folders of their own
            request = replace(request, roots=tuple(root.absolute() for root in request.roots))
        data = open_source(request.dataset, request.roots)
        survey = data.survey(keep_missing=request.keep_missing)
        with sole_writer(request.output):
            there = existing_store.exists(request.output)
            work_folder.refuse_running_jobs(request.output)
            plan = make_plan(data, request.roots, request.keep_missing, request.recipe, survey.entries)
            if there and not request.force:
                return report_up_to_date(request, data, survey, plan)
            place = work_folder.prepare_work(request.output, plan, force=request.force)
            members = split_into_partitions(survey.entries)
            resumed = run_partitions(request, members, place, progress, client)
            report = finish_ingest(request, data, survey, place)
    report.resumed_files = resumed
    report.seconds = time.perf_counter() - started
    return report


def dry_run(request: IngestRequest) -> IngestResult:
    """What `run` would read and leave out and what it would cost; nothing is written.

    Raises:
        SkelepipeError: as `run`, for the part that looks at the folders.
    """
    data = open_source(request.dataset, request.roots)
    survey = data.survey(keep_missing=request.keep_missing)
    workers = worker_count(request, sum(entry.size for entry in survey.entries))
    cost = estimate_ingest(data, survey.entries, request.recipe, request.output, workers)
    return describe(request, survey, outcome="dry run", forecast=cost)
