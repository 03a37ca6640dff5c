"""Findings of `skelepipe doctor`, and the subprocess that runs one probe.

A probe is a module with a function `examine` that yields findings. Each probe runs in its own process, so that a
missing package, or one that was built for another processor, costs only the findings of that probe.
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
PROBE_TIMEOUT_SECONDS = 180.0
"""Importing torch from a network file system with a cold cache takes many seconds."""
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
    """One line of the result of `skelepipe doctor`."""

    topic: str
    """`packages`, `processor`, ..."""
    state: State
    """problem: something will not work; note: it works, but the user should know."""
    text: str
    todo: str = ""
    """What to do about it."""


def run_probes(modules: Sequence[str]) -> list[Finding]:
    """Run each module's `examine` in its own process and return all findings, in the order of the modules."""
    with ThreadPoolExecutor(MAX_PARALLEL_PROBES) as pool:
        return [finding for found in pool.map(run_probe, modules) for finding in found]


def run_probe(module: str, timeout_seconds: float = PROBE_TIMEOUT_SECONDS) -> list[Finding]:
    """Run one module's `examine` in another process; a crash or timeout of that process becomes a finding."""
    topic = module.rpartition(".")[2]
    search_path = [folder or str(Path.cwd()) for folder in sys.path]
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", PROBE_CODE.format(module=module), json.dumps(search_path)],
            capture_output=True,
            timeout=timeout_seconds,
            check=False,
            env=os.environ | {"PYTHONWARNINGS": "ignore"},
        )
    except subprocess.TimeoutExpired:
        text = f"{module} did not finish within {timeout_seconds:.0f} s"
        return [Finding(topic, "problem", text, "check whether the disk is slow or does not respond")]
    try:
        return [Finding(**finding) for finding in json.loads(done.stdout.rpartition(b"\n")[2])]
    except (ValueError, TypeError):
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        reason = lines[-1] if lines else "it printed no error message"
        if done.returncode < 0:
            name = signal.Signals(-done.returncode).name
            reason = f"the process was killed by {name}"
            if name == "SIGILL":
                reason += ": a package was built for another processor"
        text = f"{module} cannot be used: {reason}"
        return [Finding(topic, "problem", text, "pip install --force-reinstall skelepipe")]


def to_json(found: Sequence[Finding]) -> dict[str, object]:
    """Convert all findings to plain data, with the worst state of all."""
    worst = next((state for state in ("problem", "note") if any(finding.state == state for finding in found)), "ok")
    return {"state": worst, "findings": [asdict(finding) for finding in found]}
