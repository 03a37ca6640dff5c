"""What a machine offers and what will not work on it: Python, packages and their conflicts, and all other examinations.

Each part of an examination gives findings, and is done by a process of its own: a package that is missing, or built for
another processor, takes down no more than its part, and the answer comes in any case.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

State = Literal["ok", "note", "problem"]
PROJECT_ROOT = Path(__file__).parents[2]
PROBE_TIMEOUT_SECONDS = 180.0
"""To wait for another process: torch's import takes seconds from a network file system's cold cache, compiling too."""
MAX_PARALLEL_PROBES = 3
PROBE_CODE = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from dataclasses import asdict
from {module} import examine
sys.stdout.write("\\n" + json.dumps([asdict(finding) for finding in examine()]))
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of an examination."""

    topic: str
    """`packages`, `processor`, ..."""
    state: State
    """problem: something will not work; note: it works, but the user should know."""
    text: str
    todo: str = ""
    """What to do about it."""


def examine(modules: Sequence[str]) -> list[Finding]:
    """The findings of modules' `examine`, each in a process of its own, in this order."""
    with ThreadPoolExecutor(MAX_PARALLEL_PROBES) as pool:
        return [finding for found in pool.map(in_subprocess, modules) for finding in found]


def in_subprocess(module: str, seconds: float = PROBE_TIMEOUT_SECONDS) -> list[Finding]:
    """The findings of a module's `examine`, run by another process; how that ends if it gives none."""
    topic = module.rpartition(".")[2]
    places = [place or str(Path.cwd()) for place in sys.path]
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", PROBE_CODE.format(module=module), json.dumps(places)],
            capture_output=True,
            timeout=seconds,
            check=False,
            env=os.environ | {"PYTHONWARNINGS": "ignore"},
        )
    except subprocess.TimeoutExpired:
        return [Finding(topic, "problem", f"{module} gives no answer in {seconds:.0f} s", "is the disk slow or stuck?")]
    try:
        return [Finding(**finding) for finding in json.loads(done.stdout.rpartition(b"\n")[2])]
    except (ValueError, TypeError):
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        said = lines[-1] if lines else "no word"
        if done.returncode < 0:
            name = signal.Signals(-done.returncode).name
            said = f"the process dies of {name}"
            if name == "SIGILL":
                said += ": a package is built for another processor"
        return [
            Finding(topic, "problem", f"{module} cannot be used: {said}", "pip install --force-reinstall skelepipe")
        ]


def to_json(found: Sequence[Finding]) -> dict[str, object]:
    """All findings as plain data."""
    worst = next((state for state in ("problem", "note") if any(finding.state == state for finding in found)), "ok")
    return {"state": worst, "findings": [asdict(finding) for finding in found]}
