"""The plan of an ingest as canonical JSON: everything that its partitions depend on; compare two plans."""

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
    data: Source, roots: Sequence[Path], keep_missing: bool, recipe: Recipe, entries: Sequence[Entry]
) -> bytes:
    """Return everything that the partitions depend on and that assembling them needs, as canonical JSON."""
    return manifest.canonical_json(
        {
            "format_version": validation.FORMAT_VERSION,
            "tool": importlib.metadata.version("skelepipe"),
            "dataset": data.name,
            "roots": [str(root.absolute()) for root in roots],
            "keep_missing": keep_missing,
            "shared": data.shared,
            "recipe": recipe.resolved,
            "partition": [partitions.MAX_RECORDINGS, partitions.MAX_BYTES],
            "entries": [
                [entry.name, [[str(file.path.absolute()), file.member, file.size] for file in entry.files]]
                for entry in entries
            ],
        }
    )


def without_roots(plan: bytes) -> bytes:
    """Return a plan without its roots: every entry has its absolute path, however the root folder was given."""
    try:
        return manifest.canonical_json({key: value for key, value in json.loads(plan).items() if key != "roots"})
    except (ValueError, AttributeError, RecursionError):
        return plan  # damaged, so it matches no other plan


def plan_differences(existing: bytes, requested: bytes) -> list[str]:
    """Describe how two plans differ, one phrase for each difference."""
    try:
        return _differences(json.loads(existing), json.loads(requested))
    except (ValueError, AttributeError, LookupError, TypeError, RecursionError):
        return ["its plan is damaged"]


def _differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    differences = [
        f"{title} is {old.get(key)}, requested {new[key]}"
        for key, title in (
            ("dataset", "data set"),
            ("tool", "version"),
            ("format_version", "format"),
            ("keep_missing", "keep-missing"),
            ("partition", "partition size"),
        )
        if old.get(key) != new[key]
    ]
    if old["recipe"] != new["recipe"]:
        names = [plan["recipe"]["name"] for plan in (old, new)]
        differences.append(
            f"recipe is {names[0]}, requested {names[1]}"
            if names[0] != names[1]
            else f"recipe {names[0]} has other steps or parameters"
        )
    if old["shared"] != new["shared"]:
        differences.append("the description of the recordings (manifest.csv, layout, classes) has changed")
    old_entries, new_entries = dict(old["entries"]), dict(new["entries"])
    changes = {
        "added": sorted(new_entries.keys() - old_entries.keys()),
        "missing": sorted(old_entries.keys() - new_entries.keys()),
        "changed or moved": sorted(
            name for name in new_entries.keys() & old_entries.keys() if new_entries[name] != old_entries[name]
        ),
    }
    return differences + [
        f"{len(names)} recordings {change}, first {names[0]}" for change, names in changes.items() if names
    ]
