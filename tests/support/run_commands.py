"""Run several commands, each in a process forked from one that has imported everything.

This saves the seconds that importing torch takes. Reads a list of commands as JSON from stdin, each a list of words;
stops at the first that fails and prints its output.
"""

import importlib
import json
import os
import pkgutil
import sys
import tempfile

import pipeline
import trainer
from cli import QUARANTINED, main

MAY_QUARANTINE = {"ingest", "finalise", "predict", "convert"}


def run(words: list[str]) -> tuple[int, str]:
    """Run a command in a forked process; return its exit code and output."""
    with tempfile.TemporaryFile("w+") as output:
        child = os.fork()
        if not child:
            for stream in (1, 2):
                os.dup2(output.fileno(), stream)
            code = 1
            try:
                main(words)
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else int(end.code is not None)
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(child, 0)
        output.seek(0)
        return os.waitstatus_to_exitcode(status), output.read()


def run_all(commands: list[list[str]]) -> str:
    """Run commands in the current folder; return the output of the first that failed, or an empty string."""
    for words in commands:
        code, output = run(words)
        if code and not (code == QUARANTINED and words[0] in MAY_QUARANTINE):
            return f"{' '.join(words)}: exit code {code}: {output}"
    return ""


if __name__ == "__main__":
    for package in (pipeline, trainer):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("dask_cluster"):  # needs the optional dependencies `cluster`
                importlib.import_module(module.name)
    sys.exit(run_all(json.load(sys.stdin)) or 0)
