"""HTML report on a store: counts, lengths, repairs, quarantine, examples before and after, recipe and provenance."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.files.text_paths import accept_text_paths
from pipeline.recipes.registry import STEPS
from pipeline.report import charts, store_examples
from pipeline.report.originals import REPAIR_COUNTS
from pipeline.report.report import Block, Chart, Charts, Facts, Film, Report, Section, Text, format_number, make_table
from pipeline.report.svg import WIDTH
from pipeline.sources.ntu.names import NTU60, NTU120
from pipeline.sources.source import NUMERIC_LABELS
from pipeline.store.store import Store
from pipeline.store.summary import summarise_store

MAX_BARS = 60
"""Maximum number of bars in one chart; further bars are in another chart."""
MAX_REPAIRED_LISTED = 12
"""Number of listed clips with the most repairs."""
MAX_QUARANTINE_LISTED = 300
"""Number of listed quarantined recordings; `skelepipe inspect STORE --quarantine` has all."""


@accept_text_paths
def build_store_report(store: Store, roots: Sequence[Path], default_root: Path) -> Report:
    """Build the report on a store.

    Args:
        store: the store.
        roots: folders and zips of its recordings, for the examples.
        default_root: a folder to search for them if no root is given.

    Raises:
        ArtifactError: the store is damaged.
        SkelepipeError: a given root does not exist, or contains no recording of the data set.
    """
    summary = summarise_store(store)
    film = Film(layout=store.layout)
    return Report(
        title=f"{store.name}: {summary['store']['dataset']}",
        answer=_answer(store, summary),
        about=f"{store.path}, digest {store.digest[:12]}",
        sections=[
            Section(name="counts", title="Contents", blocks=_counts(store, summary)),
            Section(name="lengths", title="Lengths and people", blocks=_lengths(store, summary)),
            Section(name="mended", title="Repairs", blocks=_repairs(store, summary)),
            Section(name="quarantine", title="Quarantine", blocks=_quarantine(store)),
            Section(
                name="examples",
                title="Before and after",
                blocks=store_examples.example_scenes(store, film, roots, default_root),
            ),
            Section(name="recipe", title="Recipe", blocks=_recipe(summary["store"]["recipe"])),
            Section(name="splits", title="Splits", blocks=_splits(store, summary)),
            Section(name="lineage", title="Provenance", blocks=_lineage(store, summary)),
        ],
        film=film,
    )


def by_class(title: str, names: Sequence[str], values: Sequence[float], unit: str, width: int = WIDTH) -> list[Chart]:
    """Plot one bar for each class, in as many charts as needed."""
    chunks = [slice(start, start + MAX_BARS) for start in range(0, max(len(names), 1), MAX_BARS)]
    titles = [title]
    if len(chunks) > 1:
        titles = [f"{title}, {bars.start + 1} to {min(bars.stop, len(names))}" for bars in chunks]
    return [
        Chart(
            title=chart_title,
            svg=charts.bars(chart_title, names[bars], values[bars], unit=unit, category="class", width=width),
        )
        for bars, chart_title in zip(chunks, titles, strict=True)
    ]


def format_share(part: float, whole: float) -> str:
    """Format a share in per cent, with more digits for small shares."""
    per_cent = 100 * part / whole if whole else 0.0
    return "0" if not part else "< 0.01 %" if per_cent < 0.01 else f"{per_cent:.{2 if per_cent < 1 else 1}f} %"


def _part_of(store: Store) -> list[str]:
    """Return how much of the whole data set the store has, for data sets whose size is known."""
    sets = {"ntu60": NTU60, "ntu120": NTU120}
    if (whole := sets.get(store.attributes["dataset"])) is None:
        return []
    return [f"{len({*store.recordings}):,} of the {whole.captured:,} recordings of {store.attributes['dataset']}"]


def _answer(store: Store, summary: Mapping[str, Any]) -> str:
    people = _count_values(store, "subject")
    classes = sum(label != "unknown" for label in summary["counts"]["class"])
    repaired, joints = store_examples.repaired_joints(store)
    refused = len(store.quarantine)
    return ", ".join(
        [
            f"{_plural(len(store), 'clip')} of {_plural(classes, 'class', 'classes')}"
            + (f" by {_plural(people, 'person', 'people')}" if people else ""),
            *_part_of(store),
            f"median {_plural(round(summary['frames']['median']), 'frame')}",
            f"{format_share(repaired.sum(), joints.sum())} of all joints repaired",
            f"{_plural(refused, 'recording')} quarantined" if refused else "nothing quarantined",
        ]
    )


def _counts(store: Store, summary: Mapping[str, Any]) -> list[Block]:
    counts = summary["counts"]
    facts = [
        ("clips", format_number(len(store))),
        ("recordings", format_number(summary["recordings"])),
        ("body-frames", format_number(summary["body_frames"])),
        *((f"{name}s", format_number(_count_values(store, name))) for name in NUMERIC_LABELS),
        ("skeleton", f"{summary['store']['layout']['name']}, {summary['store']['layout']['joints']} joints"),
    ]
    classes, sizes = np.unique(store.columns["label"], return_counts=True)
    names, values = [store.class_name(label) for label in classes.tolist()], sizes.tolist()
    range_text = f"{min(values):,}" if min(values) == max(values) else f"between {min(values):,} and {max(values):,}"
    class_charts = by_class("Clips by class", names, values, "clips")
    for name in ("subject", "camera", "setup"):
        if _count_values(store, name):
            title = f"Clips by {name}"
            svg = charts.columns(title, list(counts[name]), list(counts[name].values()), unit="clips", category=name)
            table = make_table(f"{title}: the numbers", [name, "clips"], list(counts[name].items()), folded=True)
            class_charts.append(Chart(title=title, svg=svg, table=table))
    rows = list(zip(names, values, strict=True))
    table = make_table("Clips by class: the numbers", ["class", "clips"], rows, folded=True)
    return [
        Facts(rows=facts),
        Text(text=f"Each class has {range_text} clips."),
        Charts(charts=class_charts),
        table,
    ]


def _lengths(store: Store, summary: Mapping[str, Any]) -> list[Block]:
    frames = store.columns["frames"]
    lengths = summary["frames"]
    statistics = {"shortest": "min", "median": "median", "mean": "mean", "longest": "max"}
    rows = [(name, format_number(lengths[key])) for name, key in statistics.items()]
    body_counts = summary["bodies"]
    title = "Frames per clip"
    people_title = "People per clip"
    return [
        Charts(
            charts=[
                Chart(
                    title=title,
                    svg=charts.histogram(title, frames, unit="frames", category="clips"),
                    table=make_table(f"{title}: the numbers", ["", "frames"], rows, folded=True),
                ),
                Chart(
                    title=people_title,
                    svg=charts.columns(
                        people_title, list(body_counts), list(body_counts.values()), unit="clips", category="people"
                    ),
                    table=make_table(
                        f"{people_title}: the numbers", ["people", "clips"], list(body_counts.items()), folded=True
                    ),
                ),
            ]
        )
    ]


def _repairs(store: Store, summary: Mapping[str, Any]) -> list[Block]:
    clips = len(store)
    rows = [
        (name.replace("_", " "), count["total"], count["clips"], format_share(count["clips"], clips), count["meaning"])
        for name, count in summary["quality"].items()
    ]
    repaired, joints = store_examples.repaired_joints(store)
    shares = repaired / np.maximum(joints, 1)
    order = np.lexsort((np.arange(clips), -shares))[:MAX_REPAIRED_LISTED]
    columns = store.columns
    most_repaired = [
        (
            store.names[row],
            store.class_name(int(store.columns["label"][row])),
            f"{100 * shares[row]:.1f}",
            *(int(columns[f"quality_{name}"][row]) for name in ("joints_missing", "joints_despiked", *REPAIR_COUNTS)),
            *(int(columns[f"quality_{name}"][row]) for name in ("frames_trimmed", "bodies_dropped")),
        )
        for row in order.tolist()
        if repaired[row]
    ]
    blocks: list[Block] = [
        make_table("Counts of the recipe over all clips", ["count", "total", "clips", "% of clips", "meaning"], rows)
    ]
    if most_repaired:
        title = f"Share of repaired joints, {_plural(int((repaired > 0).sum()), 'clip')} with repairs"
        per_cent = 100 * shares[repaired > 0]
        blocks.append(
            Charts(
                charts=[
                    Chart(
                        title=title,
                        svg=charts.histogram(title, per_cent, unit="repaired joints in %", category="clips"),
                    )
                ]
            )
        )
        head = [
            "clip",
            "class",
            "repaired %",
            "missing",
            "spikes",
            "filled",
            "smoothed",
            "frames trimmed",
            "bodies dropped",
        ]
        blocks.append(make_table("Clips with the most repairs", head, most_repaired))
    else:
        blocks.append(
            Text(text="No joints were repaired: the recipe has no such step, or the recordings did not need it.")
        )
    return blocks


def _quarantine(store: Store) -> list[Block]:
    refused = store.quarantine
    if not refused:
        return [Text(text="Nothing: every recording that was found is in the store.")]
    kinds = Counter(_kind(entry["reason"]) for entry in refused)
    rows = [(reason, times) for reason, times in sorted(kinds.items(), key=lambda item: (-item[1], item[0]))]
    listed = [
        (entry["file"], entry["name"], str(entry["line"] or ""), entry["reason"], f"{entry['size']:,}")
        for entry in refused[:MAX_QUARANTINE_LISTED]
    ]
    count = _plural(len(refused), "recording or clip", "recordings or clips")
    head = ["file", "name", "line", "reason", "bytes"]
    blocks: list[Block] = [
        Text(text=f"{count} could not be used; all others are in the store."),
        make_table("Reasons", ["reason", "count"], rows),
        make_table("Quarantined", head, listed, folded=len(listed) > 10),
    ]
    if len(refused) > MAX_QUARANTINE_LISTED:
        command = f"skelepipe inspect {store.path} --quarantine"
        blocks.append(
            Text(text=f"The first {MAX_QUARANTINE_LISTED} of {len(refused):,}; `{command}` lists all of them.")
        )
    return blocks


def _kind(reason: str) -> str:
    """Replace the parts of a reason that differ between files: numbers and quoted text."""
    return re.sub(r"'[^']*'|\"[^\"]*\"|-?\d[\d,.]*(e[+-]?\d+)?", "…", reason)


def _recipe(recipe: Mapping[str, Any]) -> list[Block]:
    rows = [
        (
            f"{position}. {step['step']}",
            ", ".join(f"{key} = {value}" for key, value in step.items() if key != "step"),
            _first_sentence(step["step"]),
        )
        for position, step in enumerate(recipe["steps"], start=1)
    ]
    return [
        Facts(rows=[("name", recipe["name"]), ("frame index", recipe["frame_index"])]),
        make_table("Steps, in order", ["step", "parameters", "what it does"], rows),
    ]


def _first_sentence(step: str) -> str:
    """Return the first line of a step's docstring; empty for a step of another version."""
    function = STEPS.get(step)
    return (function.__doc__ or "").strip().split("\n", 1)[0].replace("`", "") if function else ""


def _splits(store: Store, summary: Mapping[str, Any]) -> list[Block]:
    if not summary["splits"]:
        return [Text(text=f"None yet: run `skelepipe build-splits {store.path}`.")]
    rows = [
        (
            name,
            split.get("train", ""),
            split.get("test", ""),
            split.get("separates") or "",
            split.get("problem", "valid"),
        )
        for name, split in summary["splits"].items()
    ]
    return [make_table("Train and test clips", ["split", "train", "test", "disjoint column", "state"], rows)]


def _lineage(store: Store, summary: Mapping[str, Any]) -> list[Block]:
    facts, sources = summary["store"], summary["store"]["sources"]
    rows = [
        ("store", facts["path"]),
        ("digest", facts["digest"]),
        ("written by", facts["tool"]),
        ("format", str(facts["format_version"])),
        ("data set", facts["dataset"]),
        ("recordings", f"{sources['count']:,}, {sources['bytes'] / 1e6:,.1f} MB"),
        ("frames per second", f"{facts['frames_per_second'] or 'unknown'} in the recordings, 30 in the clips"),
        ("digest of the recordings", sources["digest"]),
        ("left out as officially missing", format_number(facts["missing_left_out"])),
        *([("columns of the data set", ", ".join(facts["extra_columns"]))] if facts["extra_columns"] else []),
    ]
    return [Facts(rows=rows)]


def _count_values(store: Store, column: str) -> int:
    """Count the distinct values of a column, except unknown."""
    return int(np.unique(store.columns[column][store.columns[column] >= 0]).size)


def _plural(count: int, noun: str, plural: str = "") -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {plural or noun + 's'}"
