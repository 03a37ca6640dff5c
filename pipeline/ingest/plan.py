"""What an ingest is about to do, as canonical JSON: all that its partitions depend on, and how two plans differ."""

import importlib.metadata
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.artifacts import manifest, validation
from pipeline.ingest import partitions
from pipeline.recipes.recipe import Recipe
from pipeline.sources.source import Entry, Source


def make_plan(
    data: Source, roots: Sequence[Path], keep_missing: bool, chosen: Recipe, entries: Sequence[Entry]
) -> bytes:
    """All that the partitions depend on and all that is needed to assemble them, as canonical JSON."""
    return manifest.canonical(
        {
            "format_version": validation.FORMAT_VERSION,
            "tool": importlib.metadata.version("skelepipe"),
            "dataset": data.name,
            "roots": [str(root.absolute()) for root in roots],
            "keep_missing": keep_missing,
            "shared": data.shared,
            "recipe": chosen.resolved,
            "partition": [partitions.MAX_RECORDINGS, partitions.MAX_BYTES],
            "entries": [
                [entry.name, [[str(file.path.absolute()), file.member, file.size] for file in entry.files]]
                for entry in entries
            ],
        }
    )


def without_roots(plan: bytes) -> bytes:
    """A plan without the roots: the recordings say where they lie, however the folder above was named."""
    try:
        return manifest.canonical({key: value for key, value in json.loads(plan).items() if key != "roots"})
    except (ValueError, AttributeError, RecursionError):
        return plan  # damaged: it serves nobody


def plan_differences(there: bytes, asked: bytes) -> list[str]:
    """How two plans differ, in words."""
    try:
        return _differences(json.loads(there), json.loads(asked))
    except (ValueError, AttributeError, LookupError, TypeError, RecursionError):
        return ["its plan is damaged"]


def _differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    told = [
        f"{what} {old.get(key)} there, {new[key]} asked"
        for key, what in (
            ("dataset", "data set"),
            ("tool", "version"),
            ("format_version", "format"),
            ("keep_missing", "keep-missing"),
            ("partition", "partitions of"),
        )
        if old.get(key) != new[key]
    ]
    if old["recipe"] != new["recipe"]:
        names = [plain["recipe"]["name"] for plain in (old, new)]
        told.append(
            f"recipe {names[0]} there, {names[1]} asked"
            if names[0] != names[1]
            else f"recipe {names[0]} has other steps or parameters"
        )
    if old["shared"] != new["shared"]:
        told.append("what describes the recordings (manifest, layout, classes) has changed")
    before, now = dict(old["entries"]), dict(new["entries"])
    changes = {
        "added": sorted(now.keys() - before.keys()),
        "gone": sorted(before.keys() - now.keys()),
        "changed or elsewhere": sorted(name for name in now.keys() & before.keys() if now[name] != before[name]),
    }
    return told + [f"{len(names)} recordings {how}, first {names[0]}" for how, names in changes.items() if names]
