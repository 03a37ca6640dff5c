"""Find the files of evaluations, whose names contain a digest of the settings."""

from pathlib import Path


def result_file(run: Path, name: str) -> Path:
    """Return the newest file or folder of an evaluation, by its name without the digest, such as `linear.json`."""
    stem, _, suffix = name.partition(".")
    found = (run / "eval").glob(f"{stem}-{'[0-9a-f]' * 8}.{suffix}")
    return max(found, key=lambda path: path.stat().st_mtime_ns)
