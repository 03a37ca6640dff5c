"""A store as a report: what is in it, what was mended, what could not be used and why, examples before and after."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.recipes.registry import STEPS
from pipeline.report import charts, store_examples
from pipeline.report.report import Block, Chart, Charts, Facts, Film, Report, Section, Text, make_table, number
from pipeline.sources.source import NUMERIC_LABELS
from pipeline.store.store import Store
from pipeline.store.summary import summarise_store

CHUNK = 60
"""Bars of one chart; more go on in the next, beside or below."""
WORST = 12
"""Clips that are listed for what was done to them."""
LISTED = 300
"""Quarantined recordings that are listed; `skelepipe inspect STORE --quarantine` has all."""


def build_store_report(store: Store, roots: Sequence[Path], usual: Path) -> Report:
    """All that a page says of a store.

    Args:
        store: what is reported on.
        roots: where its recordings lie, for examples before the recipe.
        usual: where they are looked for when no root is named.

    Raises:
        ArtifactError: the store is damaged.
        SkelepipeError: a named root is not there, or holds nothing of the data set.
    """
    found = summarise_store(store)
    film = Film(layout=store.layout)
    return Report(
        title=f"{store.name}: a store of {found['store']['dataset']}",
        answer=_answer(store, found),
        about=f"{store.path}, digest {store.digest[:12]}",
        sections=[
            Section(name="counts", title="What is in it", blocks=_counts(store, found)),
            Section(name="lengths", title="Lengths and people", blocks=_lengths(store, found)),
            Section(name="mended", title="What was mended", blocks=_mended(store, found)),
            Section(name="quarantine", title="What could not be used", blocks=_quarantine(store)),
            Section(
                name="examples", title="Before and after", blocks=store_examples.examples(store, film, roots, usual)
            ),
            Section(name="recipe", title="Recipe", blocks=_recipe(found["store"]["recipe"])),
            Section(name="splits", title="Splits", blocks=_splits(store, found)),
            Section(name="lineage", title="Where it comes from", blocks=_lineage(store, found)),
        ],
        film=film,
    )


def by_class(title: str, names: Sequence[str], values: Sequence[float], unit: str) -> list[Chart]:
    """Bars for each class, in as many charts as they need."""
    parts = range(0, max(len(names), 1), CHUNK)
    return [
        Chart(
            title=told,
            svg=charts.bars(
                told, names[start : start + CHUNK], values[start : start + CHUNK], unit=unit, of="class"
            ),
        )
        for start in parts
        for told in [title if len(parts) == 1 else f"{title}, {start + 1} to {min(start + CHUNK, len(names))}"]
    ]  # fmt: skip


def share(part: float, whole: float) -> str:
    """A share in per cent, with as many digits as say something."""
    per_cent = 100 * part / whole if whole else 0.0
    return "0" if not part else "< 0.01 %" if per_cent < 0.01 else f"{per_cent:.{2 if per_cent < 1 else 1}f} %"


def _answer(store: Store, found: Mapping[str, Any]) -> str:
    people = _known(store, "subject")
    classes = sum(label != "unknown" for label in found["counts"]["class"])
    mended, joints = store_examples.mended_joints(store)
    refused = len(store.quarantine)
    return ", ".join(
        [
            f"{_many(len(store), 'clip')} of {_many(classes, 'class', 'classes')}"
            + (f" by {_many(people, 'person', 'people')}" if people else ""),
            f"median {_many(round(found['frames']['median']), 'frame')}",
            f"{share(mended.sum(), joints.sum())} of all joints mended",
            f"{_many(refused, 'recording')} could not be used" if refused else "nothing had to be left out",
        ]
    )


def _counts(store: Store, found: Mapping[str, Any]) -> list[Block]:
    counts = found["counts"]
    facts = [
        ("clips", number(len(store))),
        ("recordings", number(found["recordings"])),
        ("body-frames", number(found["body_frames"])),
        *((f"{name}s", number(_known(store, name))) for name in NUMERIC_LABELS),
        ("skeleton", f"{found['store']['layout']['name']}, {found['store']['layout']['joints']} joints"),
    ]
    names, values = list(counts["class"]), list(counts["class"].values())
    spread = f"{min(values):,}" if min(values) == max(values) else f"between {min(values):,} and {max(values):,}"
    drawn = by_class("Clips by class", names, values, "clips")
    for name in ("subject", "camera", "setup"):
        if _known(store, name):
            title = f"Clips by {name}"
            svg = charts.columns(title, list(counts[name]), list(counts[name].values()), unit="clips", of=name)
            table = make_table(f"{title}: the numbers", [name, "clips"], list(counts[name].items()), folded=True)
            drawn.append(Chart(title=title, svg=svg, table=table))
    table = make_table("Clips by class: the numbers", ["class", "clips"], list(counts["class"].items()), folded=True)
    return [
        Facts(rows=facts),
        Text(text=f"Each class has {spread} clips."),
        Charts(charts=drawn),
        table,
    ]


def _lengths(store: Store, found: Mapping[str, Any]) -> list[Block]:
    frames = store.columns["frames"]
    lengths = found["frames"]
    asked = {"shortest": "min", "median": "median", "mean": "mean", "longest": "max"}
    rows = [(name, number(lengths[key])) for name, key in asked.items()]
    people = found["bodies"]
    title = "Frames of a clip"
    together = "People in a clip"
    return [
        Charts(
            charts=[
                Chart(
                    title=title,
                    svg=charts.histogram(title, frames, unit="frames", of="clips"),
                    table=make_table(f"{title}: the numbers", ["", "frames"], rows, folded=True),
                ),
                Chart(
                    title=together,
                    svg=charts.columns(together, list(people), list(people.values()), unit="clips", of="people"),
                    table=make_table(
                        f"{together}: the numbers", ["people", "clips"], list(people.items()), folded=True
                    ),
                ),
            ]
        )
    ]


def _mended(store: Store, found: Mapping[str, Any]) -> list[Block]:
    clips = len(store)
    rows = [
        (name.replace("_", " "), told["total"], told["clips"], share(told["clips"], clips), told["meaning"])
        for name, told in found["quality"].items()
    ]
    mended, joints = store_examples.mended_joints(store)
    shares = mended / np.maximum(joints, 1)
    order = np.lexsort((np.arange(clips), -shares))[:WORST]
    columns = store.columns
    worst = [
        (
            store.names[row],
            store.class_name(int(store.columns["label"][row])),
            f"{100 * shares[row]:.1f}",
            *(
                int(columns[f"quality_{name}"][row])
                for name in ("joints_missing", "joints_despiked", *store_examples.MENDED)
            ),
            *(int(columns[f"quality_{name}"][row]) for name in ("frames_trimmed", "bodies_dropped")),
        )
        for row in order.tolist()
        if mended[row]
    ]
    blocks: list[Block] = [
        make_table(
            "What the recipe found and did, over all clips", ["count", "total", "clips", "of all", "meaning"], rows
        )
    ]
    if worst:
        title = f"Share of the joints that was mended, of the {_many(int((mended > 0).sum()), 'clip')} with any"
        per_cent = 100 * shares[mended > 0]
        blocks.append(
            Charts(
                charts=[
                    Chart(title=title, svg=charts.histogram(title, per_cent, unit="per cent of the joints", of="clips"))
                ]
            )
        )
        head = ["clip", "class", "mended %", "missing", "spikes", "filled", "smoothed", "frames cut", "bodies out"]
        blocks.append(make_table("The clips that were changed most", head, worst))
    else:
        blocks.append(
            Text(text="The recipe has mended no joint: it has no such step, or the recordings gave no cause.")
        )
    return blocks


def _quarantine(store: Store) -> list[Block]:
    refused = store.quarantine
    if not refused:
        return [Text(text="Nothing: every recording that was found is in the store.")]
    kinds = Counter(_kind(entry["reason"]) for entry in refused)
    rows = [(reason, count) for reason, count in sorted(kinds.items(), key=lambda item: (-item[1], item[0]))]
    listed = [
        (entry["file"], entry["name"], str(entry["line"] or ""), entry["reason"], f"{entry['size']:,}")
        for entry in refused[:LISTED]
    ]
    many = _many(len(refused), "recording or clip", "recordings or clips")
    head = ["file", "name", "line", "reason", "bytes"]
    blocks: list[Block] = [
        Text(text=f"{many} could not be used; the rest went on without."),
        make_table("Reasons", ["reason", "how often"], rows),
        make_table("What could not be used", head, listed, folded=len(listed) > 10),
    ]
    if len(refused) > LISTED:
        command = f"skelepipe inspect {store.path} --quarantine"
        blocks.append(Text(text=f"The first {LISTED} of {len(refused):,}; `{command}` has all of them."))
    return blocks


def _kind(reason: str) -> str:
    """A reason without what differs from file to file: numbers and quoted text."""
    return re.sub(r"'[^']*'|\"[^\"]*\"|-?\d[\d,.]*(e[+-]?\d+)?", "…", reason)


def _recipe(plain: Mapping[str, Any]) -> list[Block]:
    rows = [
        (
            f"{place}. {step['step']}",
            ", ".join(f"{key} = {value}" for key, value in step.items() if key != "step"),
            _does(step["step"]),
        )
        for place, step in enumerate(plain["steps"], start=1)
    ]
    return [
        Facts(rows=[("name", plain["name"]), ("frames are counted", plain["frame_index"])]),
        make_table("Steps, in order", ["step", "parameters", "what it does"], rows),
    ]


def _does(step: str) -> str:
    """What a step does, in the first sentence of its own description; nothing for one of another version."""
    function = STEPS.get(step)
    return (function.__doc__ or "").strip().split("\n", 1)[0].replace("`", "") if function else ""


def _splits(store: Store, found: Mapping[str, Any]) -> list[Block]:
    if not found["splits"]:
        return [Text(text=f"None yet: `skelepipe build-splits {store.path}` makes them.")]
    rows = [
        (
            name,
            split.get("train", ""),
            split.get("test", ""),
            split.get("separates") or "",
            split.get("problem", "good"),
        )
        for name, split in found["splits"].items()
    ]
    return [make_table("Who trains and who tests", ["split", "train", "test", "keeps apart", "state"], rows)]


def _lineage(store: Store, found: Mapping[str, Any]) -> list[Block]:
    facts, sources = found["store"], found["store"]["sources"]
    rows = [
        ("store", facts["path"]),
        ("digest", facts["digest"]),
        ("made by", facts["tool"]),
        ("format", str(facts["format_version"])),
        ("data set", facts["dataset"]),
        ("recordings", f"{sources['count']:,}, {sources['bytes'] / 1e6:,.1f} MB"),
        ("their digest", sources["digest"]),
        ("officially missing, left out", number(facts["missing_left_out"])),
        *([("columns of the data set", ", ".join(facts["extra_columns"]))] if facts["extra_columns"] else []),
    ]
    return [Facts(rows=rows)]


def _known(store: Store, column: str) -> int:
    """How many values a column has, the unknown one not counted."""
    return int(np.unique(store.columns[column][store.columns[column] >= 0]).size)


def _many(count: int, what: str, several: str = "") -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {several or what + 's'}"
