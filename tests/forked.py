"""Run tests on changed source of one module: in a process forked from one that has imported all but our own code.

Starting Python and importing torch takes seconds; forking takes none. What a test imports is then the changed source,
and no file on disk is touched. Kernels run as plain Python unless asked otherwise: compiling would take seconds, too.
"""

import atexit
import contextlib
import gc
import importlib
import importlib.abc
import importlib.util
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import hypothesis
import numba
import pytest

ROOT = Path(__file__).parents[1]
MEMORY = 6 << 30
"""Bytes of address space that a process may take beyond what was there at its start."""
EXAMPLES = 25
"""Hypothesis' examples for each test: what a fault shows in shows early."""
WARM = (
    *("numpy", "torch", "torch.nn.functional", "zarr", "h5py", "pydantic", "safetensors.torch", "google_crc32c"),
    *("filelock", "numcodecs", "isal.igzip", "rich.progress", "click.testing", "hypothesis.strategies"),
    *("hypothesis.extra.numpy", "zarr.testing", "pydantic.main", "pydantic.functional_validators", "numpy.testing"),
    *("concurrent.futures.process", "multiprocessing.queues", "xdist.plugin"),
)


@dataclass(frozen=True, kw_only=True)
class Suite:
    """The tests that changed source must pass not to be noticed."""

    tests: tuple[str, ...]
    """Files of tests, the quickest first."""
    later: tuple[str, ...] = ()
    """Parts of the names of tests that take long: they run when all others have passed."""
    also: tuple[str, ...] = ()
    """More files that run when all others have passed."""
    never: tuple[str, ...] = ("golden",)
    """Parts of the names of tests that are left out."""
    compiled: bool = False
    """Kernels are compiled, because the module is none and its tests need many."""

    def passes(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Files and what pytest's -k takes, for one call of pytest after the other."""
        never = " or ".join(self.never)
        yield self.tests, f"not ({' or '.join([*self.never, *self.later])})"
        if self.later:
            yield self.tests, f"({' or '.join(self.later)}) and not ({never})"
        if self.also:
            yield self.also, f"not ({never})"


@dataclass(kw_only=True)
class Outcome:
    """What became of a change."""

    verdict: str
    """killed, timed out or survived."""
    by: str = ""
    """The test that killed it."""
    seconds: float = 0.0
    slowest: float = 0.0
    """Seconds of the slowest test."""
    becomes: str = ""
    """What the line was changed into."""


class Changed(importlib.abc.MetaPathFinder, importlib.abc.ExecutionLoader):
    """Finds one module's source here in place of its file."""

    def __init__(self, module: str, source: str, root: Path) -> None:
        self.name = module.removesuffix(".py").replace("/", ".")
        self.path, self.source = root / module, source

    def find_spec(self, fullname: str, path: object = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        return importlib.util.spec_from_file_location(fullname, self.path, loader=self)

    def get_source(self, fullname: str) -> str:
        return self.source

    def get_filename(self, fullname: str) -> str:
        return str(self.path)


class Watcher:
    """A plugin of pytest: Hypothesis' tests are short and the same each time; notes the first test that fails."""

    failed, hung, slowest = "", False, 0.0

    def pytest_collection_modifyitems(self, items: Sequence[object]) -> None:
        for item in items:
            inner = getattr(item, "obj", None)
            held = getattr(inner, "_hypothesis_internal_use_settings", None)
            if held is not None:
                inner._hypothesis_internal_use_settings = hypothesis.settings(
                    held,
                    max_examples=min(held.max_examples, EXAMPLES),
                    derandomize=True,
                    database=None,
                    deadline=None,
                    suppress_health_check=[*hypothesis.HealthCheck],
                    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
                )

    def pytest_runtest_logreport(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        self.slowest = max(self.slowest, getattr(report, "duration", 0.0))
        if report.failed and not self.failed:
            self.failed, self.hung = report.nodeid, "from pytest-timeout" in report.longreprtext

    pytest_collectreport = pytest_runtest_logreport


def warm_up(root: Path = ROOT, names: Sequence[str] = WARM) -> None:
    """Import what tests need that no change touches; our own code will be found in `root`."""
    os.environ |= {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    for name in names:
        importlib.import_module(name)
    sys.path.insert(0, str(root))
    sys.dont_write_bytecode, sys.pycache_prefix = False, tempfile.mkdtemp(prefix="bytecode-")  # compiled once for all
    atexit.register(shutil.rmtree, sys.pycache_prefix)
    gc.collect()
    gc.freeze()


def examine(suite: Suite, temporary: Path, root: Path, patience: float) -> tuple[int, Watcher]:
    """Run the tests until one fails or takes too many seconds: pytest's exit code, and what was seen."""
    if not suite.compiled:
        os.environ["NUMBA_DISABLE_JIT"] = "1"
        numba.config.DISABLE_JIT = True
    os.chdir(root)
    watcher = Watcher()
    quiet = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", f"--rootdir={root}", f"--basetemp={temporary}"]
    quiet += ["-o", f"timeout={patience}"]
    quiet += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # some of what it would rewrite is imported already
    for files, chosen in suite.passes():
        code = int(pytest.main([*(f"tests/{name}.py" for name in files), "-k", chosen, *quiet], plugins=[watcher]))
        if code not in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}:
            return code, watcher
    return 0, watcher


class Forked:
    """A process that runs a suite on changed source of a module, or on the module as it is.

    Args:
        module: its path from the root.
        source: what is found in its place; None: what is there.
        suite: the tests.
        limits: seconds that all tests may take together, and that one may take.
        output: takes what pytest says.
        root: of the tree.
    """

    def __init__(
        self,
        module: str,
        source: str | None,
        suite: Suite,
        limits: tuple[float, float],
        output: Path,
        root: Path = ROOT,
    ) -> None:
        self._limit, self._temporary = limits[0], Path(tempfile.mkdtemp(prefix="forked-"))
        self._began = time.monotonic()
        self._pid = os.fork()
        if self._pid == 0:
            self._work(module, source, suite, limits[1], output, root)

    def _work(self, module: str, source: str | None, suite: Suite, patience: float, output: Path, root: Path) -> None:
        code = 70
        try:
            os.setsid()
            with output.open("w") as kept:
                os.dup2(kept.fileno(), 1)
                os.dup2(kept.fileno(), 2)
            room = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + MEMORY
            resource.setrlimit(resource.RLIMIT_AS, (room, room))
            if source is not None:
                sys.meta_path.insert(0, Changed(module, source, root))
            code, seen = examine(suite, self._temporary / "base", root, patience)
            found = {"by": seen.failed, "hung": seen.hung, "slowest": seen.slowest}
            (self._temporary / "seen").write_text(json.dumps(found))
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def outcome(self) -> Outcome | None:
        """What became of it; None while it runs."""
        seconds = time.monotonic() - self._began
        done, status = os.waitpid(self._pid, os.WNOHANG)
        if not done and seconds < self._limit:
            return None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)  # and what it may have started
        if not done:
            os.waitpid(self._pid, 0)
        told = self._temporary / "seen"
        seen = json.loads(told.read_text()) if told.exists() else {"by": "", "hung": False, "slowest": 0.0}
        shutil.rmtree(self._temporary, ignore_errors=True)
        verdict = "survived" if done and status == 0 else "killed" if done and not seen["hung"] else "timed out"
        return Outcome(verdict=verdict, by=seen["by"], seconds=round(seconds, 2), slowest=round(seen["slowest"], 2))

    def wait(self) -> Outcome:
        """What became of it, once it has."""
        while (found := self.outcome()) is None:
            time.sleep(0.01)
        return found
