"""Limits of control groups: the smallest one of all ancestors counts, in versions 1 and 2."""

import os
from pathlib import Path

import pytest

from pipeline.files import cgroups
from pipeline.files.cgroups import UNLIMITED, memory_left, usable_cores

ALL_CORES = 64
V1_UNLIMITED = "9223372036854771712"


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder in place of /sys/fs/cgroup, on a machine with 64 cores."""
    monkeypatch.setattr(cgroups, "CGROUP_ROOT", tmp_path / "groups")
    monkeypatch.setattr(cgroups, "OWN_CGROUP", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(ALL_CORES)))
    (tmp_path / "groups").mkdir()
    return tmp_path / "groups"


def write(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(f"{content}\n")


def join(groups: Path, *lines: str) -> None:
    groups.with_name("own").write_text("".join(f"{line}\n" for line in lines))


def test_without_groups_nothing_is_limited(groups: Path) -> None:
    assert (memory_left(), usable_cores()) == (UNLIMITED, ALL_CORES)


@pytest.mark.parametrize(("parent", "child", "left"), [
    ("9000", "6000", 4000), ("6000", "9000", 4000), ("max", "6000", 4000), ("max", "max", UNLIMITED), ("100", "max", 0),
])  # fmt: skip
def test_the_smallest_memory_limit_of_version_2_counts(groups: Path, parent: str, child: str, left: int) -> None:
    join(groups, "0::/job/step")
    for folder, limit in ((groups / "job", parent), (groups / "job" / "step", child)):
        write(folder, memory__max=limit, memory__current=2500, memory__stat="anon 2000\ninactive_file 500")
    assert memory_left() == left


def test_the_limit_above_which_a_group_is_slowed_down_counts(groups: Path) -> None:
    join(groups, "0::/job")
    write(groups / "job", memory__max="max", memory__high=3000, memory__current=1000, memory__stat="")
    assert memory_left() == 2000


@pytest.mark.parametrize(("parent", "child", "left"), [
    ("6000", V1_UNLIMITED, 4000), (V1_UNLIMITED, "6000", 4000), (V1_UNLIMITED, V1_UNLIMITED, UNLIMITED),
])  # fmt: skip
def test_the_smallest_memory_limit_of_version_1_counts(groups: Path, parent: str, child: str, left: int) -> None:
    join(groups, "7:blkio:/", "4:memory:/job/step", "0::/")
    for folder, limit in ((groups / "memory" / "job", parent), (groups / "memory" / "job" / "step", child)):
        write(folder, memory__limit_in_bytes=limit, memory__usage_in_bytes=2500)
        write(folder, memory__stat="inactive_file 1\ntotal_inactive_file 500")
    assert memory_left() == left


def test_in_a_container_the_root_is_its_own_group(groups: Path) -> None:
    join(groups, "4:memory:/docker/0123456789ab", "2:cpu,cpuacct:/docker/0123456789ab")
    write(groups / "memory", memory__limit_in_bytes=5000, memory__usage_in_bytes=1000, memory__stat="")
    write(groups / "cpu,cpuacct", cpu__cfs_quota_us=300_000, cpu__cfs_period_us=100_000)
    assert (memory_left(), usable_cores()) == (4000, 3)


def test_a_group_outside_of_the_namespace_is_not_followed(groups: Path) -> None:
    join(groups, "0::/../other")
    write(groups, memory__max=5000, memory__current=1000)
    write(groups.parent / "other", memory__max=1, memory__current=1)
    assert memory_left() == 4000


@pytest.mark.parametrize(("parent", "child", "cores"), [
    ("800000 100000", "max 100000", 8), ("max 100000", "250000 100000", 2), ("50000 100000", "max 100000", 1),
    ("max 100000", "max 100000", ALL_CORES), ("", "400000 0", ALL_CORES), ("6400000000 100000", "", ALL_CORES),
])  # fmt: skip
def test_the_smallest_cpu_quota_of_version_2_counts(groups: Path, parent: str, child: str, cores: int) -> None:
    join(groups, "0::/job/step")
    write(groups / "job", cpu__max=parent)
    write(groups / "job" / "step", cpu__max=child)
    assert usable_cores() == cores


@pytest.mark.parametrize(("quota", "cores"), [("200000", 2), ("-1", ALL_CORES), ("no number", ALL_CORES)])
def test_the_cpu_quota_of_version_1_counts(groups: Path, quota: str, cores: int) -> None:
    join(groups, "1:cpu:/job")
    write(groups / "cpu" / "job", cpu__cfs_quota_us=quota, cpu__cfs_period_us="100000")
    assert usable_cores() == cores


def test_files_that_are_missing_or_hold_no_numbers_limit_nothing(groups: Path) -> None:
    join(groups, "0::/job", "nonsense", "4:memory:/x")
    write(groups / "job", memory__max=1000, cpu__max="100000")
    write(groups / "memory" / "x", memory__limit_in_bytes="many", memory__usage_in_bytes=1)
    assert (memory_left(), usable_cores()) == (UNLIMITED, ALL_CORES)
