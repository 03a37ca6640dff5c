from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from pipeline.files.raw_files import RawFile
from pipeline.ingest.estimate import _choose_sample
from pipeline.ingest.ingest import dry_run
from pipeline.ingest.request import IngestRequest
from pipeline.sources.source import Entry
from pipeline.store.store import Store


def test_a_dry_run_estimates_the_size_of_the_store_and_writes_nothing(
    raw: Path, shared_store: Store, tmp_path: Path, request_for: Callable[..., IngestRequest]
) -> None:
    before = sorted(tmp_path.rglob("*"))
    result = dry_run(request_for(raw, tmp_path / "p" / "s.zarr"))
    assert sorted(tmp_path.rglob("*")) == before
    expected = result.forecast
    assert expected is not None
    xyz = sum(path.stat().st_size for path in (shared_store.path / "xyz").rglob("*") if path.is_file())
    assert expected.sampled_files == 64
    assert 0.7 * xyz < expected.store_bytes < 1.4 * xyz
    assert expected.work_bytes > expected.store_bytes
    assert expected.seconds > 0
    assert expected.quarantined >= 1
    assert expected.free_bytes > 0


@pytest.mark.parametrize(
    ("count", "size", "wanted"),
    [(0, 1, 0), (1, 1, 1), (127, 1, 64), (1000, 1, 64), (1000, 1 << 22, 8), (39, 3 << 20, 10), (3, 1 << 30, 1)],
)
def test_a_sample_is_choose_sample_evenly_and_bounded(count: int, size: int, wanted: int) -> None:
    entries = [Entry(str(n), RawFile(Path(str(n)), "", size)) for n in range(count)]
    indices = [int(entry.name) for entry in _choose_sample(entries)]
    assert len(indices) == wanted
    for left, right in pairwise([-1 - indices[0], *indices, 2 * count - 1 - indices[-1]] if indices else []):
        assert abs((right - left) - count / wanted) <= 1
