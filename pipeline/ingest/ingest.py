"""Ingest recordings into a store: survey, process partitions, assemble them in input order, publish with one rename.

The store's bytes depend only on the recordings and the recipe: not on the number of workers, on interruptions, or on
where and when the ingest runs.
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
from pipeline.ingest.existing_store import up_to_date_result
from pipeline.ingest.partitions import split_into_partitions
from pipeline.ingest.plan import make_plan
from pipeline.ingest.request import IngestProgress, IngestRequest, IngestResult, make_result
from pipeline.sources.registry import open_source


def ingest(request: IngestRequest, progress: Callable[[IngestProgress], None] = lambda tick: None) -> IngestResult:
    """Build the store that `request` describes, or report that it is up to date.

    Raises:
        OutputExists: the output was made from other input (the message lists the differences) and `force` is off.
        OutputLocked: another process is writing the output.
        OutputFailed: the disk refuses.
        SkelepipeError: no usable recording was found, or `strict` is on and something could not be used.
    """
    started = time.perf_counter()
    with dask_cluster.connect_cluster(request.dask) if request.dask else nullcontext() as client:
        if client is not None:  # Dask workers have their own working directories
            request = replace(request, roots=tuple(root.absolute() for root in request.roots))
        data = open_source(request.dataset, request.roots)
        request = request.limited_by(data)
        survey = data.survey(keep_missing=request.keep_missing)
        with sole_writer(request.output):
            store_exists = existing_store.exists(request.output)
            work_folder.refuse_running_jobs(request.output)
            plan = make_plan(data, request.roots, request.keep_missing, request.recipe, survey.entries)
            if store_exists and not request.force:
                return up_to_date_result(request, data, survey, plan)
            work = work_folder.prepare_work(request.output, plan, force=request.force)
            partitions = split_into_partitions(survey.entries)
            resumed = run_partitions(request, partitions, work, progress, client)
            result = finish_ingest(request, data, survey, work)
    result.resumed_files = resumed
    result.seconds = time.perf_counter() - started
    return result


def dry_run(request: IngestRequest) -> IngestResult:
    """Report what `ingest` would read and leave out, and estimate its cost; write nothing.

    Raises:
        SkelepipeError: as for `ingest`, for the steps up to the survey.
    """
    data = open_source(request.dataset, request.roots)
    request = request.limited_by(data)
    survey = data.survey(keep_missing=request.keep_missing)
    workers = worker_count(request, sum(entry.size for entry in survey.entries))
    cost = estimate_ingest(data, survey.entries, request.recipe, request.output, workers)
    return make_result(request, survey, outcome="dry run", forecast=cost)
