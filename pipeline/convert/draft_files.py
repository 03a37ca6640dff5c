"""The texts of a drafted `skeleton.toml` and `manifest.csv`."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from pipeline.convert.output import FIRST_COLUMNS, toml_list, toml_text
from pipeline.convert.skeleton_guess import SkeletonGuess
from pipeline.files.spreadsheet import escape_cell

TODO = "TODO"
"""Written for what cannot be guessed; `ingest` refuses it as an unknown joint."""


def skeleton_toml(
    joints: Sequence[str],
    guess: SkeletonGuess,
    units: str,
    up: str,
    rules: Mapping[str, Mapping[str, Sequence[str]]],
) -> str:
    """Return the text of a drafted skeleton.toml; what is not known is TODO.

    Args:
        joints: the names of the joints, in the order of the files.
        guess: the skeleton.
        units: of the coordinates.
        up: the axis that points up.
        rules: the training condition of each split.
    """
    lines = [
        "# drafted by skelepipe init; docs/data/folder.md describes every key",
        f"units = {toml_text(units)} # of the coordinates, from the size of the bodies",
        f"up = {toml_text(up)} # the axis that points up",
        "# frames_per_second = 30 # of the recordings; 30 is assumed without it",
    ]
    if (guess.layout and not all(joint.startswith("joint_") for joint in joints)) or guess.layout:
        lines.append(f"layout = {toml_text(guess.layout)}")
    else:
        pairs = {"spine": guess.spine, "shoulders": guess.shoulders}
        lines += [
            f"joints = {toml_list(joints)}",
            f"parents = {toml_list([TODO if parent is None else parent for parent in guess.parents])}",
            f"centre = {toml_text(guess.centre or TODO)} # the body's position",
            *(f"{key} = {toml_list(pair or (TODO, TODO))}" for key, pair in pairs.items()),
            "",
            "[parts] # for mixing; every joint is in exactly one",
            *(f"{toml_text(part)} = {toml_list(members)}" for part, members in guess.parts.items()),
            *([f"{TODO} = {toml_list(left)}"] if (left := _without_part(joints, guess)) else []),
        ]
    for name, condition in rules.items():
        values = ", ".join(f"{toml_text(column)} = {toml_list(allowed)}" for column, allowed in condition.items())
        lines += ["", f"[splits.{name}]", f"train = {{ {values} }}"]
    return "\n".join(lines) + "\n"


def _without_part(joints: Sequence[str], guess: SkeletonGuess) -> list[str]:
    placed = {joint for members in guess.parts.values() for joint in members}
    return [joint for joint in joints if joint not in placed]


def manifest_csv(files: Sequence[PurePosixPath], rows: Sequence[Mapping[str, str]]) -> str:
    """Return the text of a manifest.csv with a row per file."""
    used = dict.fromkeys(column for row in rows for column in row)
    columns = ["file", *(column for column in FIRST_COLUMNS if column in used and column != "file")]
    columns += sorted(used.keys() - {*columns})
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for file, row in zip(files, rows, strict=True):
        writer.writerow({"file": str(file), **{column: escape_cell(value) for column, value in row.items()}})
    return text.getvalue()
