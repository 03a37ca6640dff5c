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
    """The exit code of a command, and what it said."""
    with tempfile.TemporaryFile("w+") as said:
        child = os.fork()
        if not child:
            for stream in (1, 2):
                os.dup2(said.fileno(), stream)
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
        said.seek(0)
        return os.waitstatus_to_exitcode(status), said.read()


def run_all(commands: list[list[str]]) -> str:
    """Run them in this folder; what the first one that failed said, or nothing."""
    for words in commands:
        code, said = run(words)
        if code and not (code == QUARANTINED and words[0] in MAY_QUARANTINE):
            return f"{' '.join(words)}: exit code {code}: {said}"
    return ""


if __name__ == "__main__":
    for package in (pipeline, trainer):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("dask_cluster"):  # needs the extra `cluster`
                importlib.import_module(module.name)
    sys.exit(run_all(json.load(sys.stdin)) or 0)
