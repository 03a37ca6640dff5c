"""Probe of `skelepipe doctor`: free disk space where recordings, stores and runs are kept."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from pipeline.artifacts.paths import PROCESSED_FOLDER, RAW_FOLDER, RUNS_FOLDER
from pipeline.files.disk import nearest_folder
from trainer.doctor.findings import Finding

LOW_SPACE_BYTES, NO_SPACE_BYTES = 5e9, 1e8
"""Free bytes below which a note or a problem is reported. The store of NTU-120 takes some 2 GB."""


def examine() -> Iterator[Finding]:
    """Check the free space of raw/, processed/ and runs/ in the current folder."""
    for folder in (RAW_FOLDER, PROCESSED_FOLDER, RUNS_FOLDER):
        yield check_folder(folder)


def check_folder(folder: Path) -> Finding:
    """Report the free space of the disk on which a folder is, or would be created."""
    existing = nearest_folder(folder)
    free = shutil.disk_usage(existing).free
    text = f"{folder}/: {free / 1e9:.1f} GB free"
    if existing != folder.absolute():
        text += ", does not exist yet"
    if free < NO_SPACE_BYTES:
        return Finding("disk", "problem", f"{text}: no space", "free some space, or choose another disk")
    if free < LOW_SPACE_BYTES:
        return Finding("disk", "note", f"{text}: little space", "ingest --dry-run estimates what a store needs")
    return Finding("disk", "ok", text)
