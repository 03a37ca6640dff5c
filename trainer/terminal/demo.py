"""`skelepipe demo`: run the whole pipeline on synthetic recordings in a folder of its own."""

import contextlib
from pathlib import Path

import click

from pipeline.artifacts.paths import RUNS_FOLDER
from pipeline.errors import OutputExists
from pipeline.files.system_files import entries
from trainer.terminal.printing import print_note


def demo_commands(clips: int, epochs: int | None = None) -> tuple[str, ...]:
    """Return the commands that the demo runs, without the program's name."""
    return (
        f"synth ntu60 raw --clips {clips} --broken 3",
        "ingest ntu60 raw",
        "build-splits",
        "pretrain --preset demo" + (f" --set epochs={epochs}" if epochs else ""),
        "eval",
        "report",
    )


def run_demo(program: click.Group, folder: Path, commands: tuple[str, ...], accepted_codes: set[int | None]) -> int:
    """Run commands in a new or empty folder, and print each before it runs.

    Args:
        program: the group of all commands.
        folder: to work in.
        commands: as `demo_commands` returns them.
        accepted_codes: exit codes after which the demo continues.

    Returns:
        0, or the exit code of the command that failed.

    Raises:
        OutputExists: the folder is not empty.
    """
    if folder.exists() and any(entries(folder)):
        raise OutputExists(f"{folder}: is not empty; remove it or name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.chdir(folder):
        for command in commands:
            print_note(["", f"$ skelepipe {command}"])
            code: int | None = program.main(command.split(), standalone_mode=False)
            if code and code not in accepted_codes:
                return code
    page = folder / RUNS_FOLDER / "ntu60-xsub-demo" / "report.html"
    print_note(
        [
            "",
            f"{folder} contains: recordings in raw/, store and splits in processed/, encoder and results in runs/",
            f"open {page} in a browser: the report on this run",
            "The recordings are synthetic: these results say nothing about real data.",
        ]
    )
    return 0
