"""Compiled kernels work where the installation and the home folder are read-only."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.files import numba_cache

ROOT = Path(__file__).parents[3]
PROGRAM = """
import os
from pipeline.files.numba_cache import choose_cache_folder
choose_cache_folder()
import pipeline.store.batches_kernels
print(os.environ.get("NUMBA_CACHE_DIR", "default"))
"""


@pytest.fixture
def installation(tmp_path: Path) -> Path:
    """A copy of the package in which no folder for caches can be created, because a file has its name."""
    shutil.copytree(ROOT / "pipeline", tmp_path / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in numba_cache.KERNEL_FOLDERS:
        if folder.startswith("pipeline"):
            (tmp_path / folder / "__pycache__").write_text("")
    (tmp_path / "temporary").mkdir()
    return tmp_path


def run(installation: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    others = {name: value for name, value in os.environ.items() if name not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    paths = {"PYTHONPATH": str(installation), "HOME": "/dev/null", "TMPDIR": str(installation / "temporary")}
    return subprocess.run(
        [sys.executable, "-B", "-c", PROGRAM],
        cwd=installation,
        env=others | paths | settings,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("settings", [{}, {"NUMBA_CACHE_DIR": "/dev/null/cache"}])
def test_a_read_only_installation_caches_in_the_folder_for_temporary_files(
    installation: Path, settings: dict[str, str]
) -> None:
    folder = installation / "temporary" / f"skelepipe-numba-{os.getuid()}"
    for _ in range(2):
        done = run(installation, **settings)
        assert (done.returncode, done.stdout.strip()) == (0, str(folder)), done.stderr
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_others_can_write_is_not_used(installation: Path) -> None:
    folder = installation / "temporary" / f"skelepipe-numba-{os.getuid()}"
    folder.mkdir()
    folder.chmod(0o777)
    done = run(installation)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() != str(folder)
    assert "compiled kernels cannot be kept" in done.stderr


def test_a_usable_home_or_setting_is_left_alone(installation: Path, tmp_path: Path) -> None:
    assert run(installation, HOME=str(tmp_path / "home")).stdout.strip() == "default"
    assert run(installation, NUMBA_CACHE_DIR=str(tmp_path / "mine")).stdout.strip() == str(tmp_path / "mine")
