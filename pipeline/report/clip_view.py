"""Clips to look at: which of a store, what stands beside them, and the page, picture or animation that shows them."""

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.errors import ArtifactError, SkelepipeError
from pipeline.files import atomic
from pipeline.report import html, images
from pipeline.report.figures import Figure, Panel
from pipeline.report.originals import find_raw_folders
from pipeline.sources.source import NUMERIC_LABELS
from pipeline.store.store import Store
from pipeline.suggest import did_you_mean

MAX_CLIPS = 48
"""Clips on one page: more is a report's work."""
DEFAULT_CLIP_COUNT = 6
"""Clips that are taken when none is named."""


@dataclass(frozen=True, kw_only=True)
class ClipView:
    """Figures, and what is to be said of them."""

    figures: list[Figure]
    notes: list[str] = field(default_factory=list)


def find_rows(store: Store, samples: Sequence[str]) -> list[int]:
    """The rows of clips by name (in any case) or by a pattern such as `S001*A043`; without any, one of each class.

    Raises:
        ArtifactError: none has that name, or more are meant than a page takes; the text names some that there are.
    """
    if not samples:
        _, first = np.unique(store.columns["label"], return_index=True)
        return sorted(first.tolist())[:DEFAULT_CLIP_COUNT]
    places = {name: row for row, name in enumerate(store.names)}
    folded = {name.lower(): row for name, row in places.items()}
    found: dict[int, None] = {}
    for sample in samples:
        exact = places.get(sample, folded.get(sample.lower()))
        these = [exact] if exact is not None else _matching(store, sample)
        if not these:
            raise ArtifactError(
                f"{store.path}: no clip is called {sample!r}{did_you_mean(sample, store.names)}; it has {_example_names(store)}"
            )
        found |= dict.fromkeys(these)
    if len(found) > MAX_CLIPS:
        raise ArtifactError(f"{store.path}: {len(found):,} clips are meant, a page takes {MAX_CLIPS}; name fewer")
    return list(found)


def collect_clips(store: Store, chosen: Sequence[int], roots: Sequence[Path], nearby: Path) -> ClipView:
    """Clips of a store, each beside what was recorded where that is found.

    Args:
        store: whose clips.
        chosen: their rows.
        roots: folders and zips of the raw recordings.
        nearby: a folder that is looked into when none is named, if it is there and holds the data set.

    Raises:
        SkelepipeError: a root does not exist, or holds nothing of the data set.
    """
    originals, notes = find_raw_folders(store, roots, nearby)
    figures, without = [], []
    for row in chosen:
        original = originals.find(row) if originals else None
        panels = [Panel(title=f"in the store (recipe {store.attributes['recipe']['name']})", xyz=store.clip(row))]
        if original is not None:
            first, last = int(original.shown[0]) + 1, int(original.shown[-1]) + 1
            how = f"frames {first} to {last} of {original.xyz.shape[1]}"
            panels.insert(
                0,
                Panel(
                    title="as recorded",
                    xyz=original.xyz[:, original.shown],
                    note=how if original.is_exact else f"{how}, spread over the clip",
                ),
            )
        elif originals:
            without.append(store.names[row])
        figures.append(Figure(title=store.names[row], layout=store.layout, panels=panels, facts=clip_facts(store, row)))
    if without:
        more = f" and {len(without) - 5} more" if len(without) > 5 else ""
        notes.append(f"not shown as recorded, for that very file is not there: {', '.join(without[:5])}{more}")
    return ClipView(figures=figures, notes=notes)


def clip_facts(store: Store, row: int) -> list[tuple[str, str]]:
    """What a store knows of a clip, for people: class, who and where, length, what its recipe did."""
    columns = store.columns
    told = [("class", store.class_name(int(columns["label"][row])))]
    told += [(name, str(value)) for name in NUMERIC_LABELS if (value := int(columns[name][row])) >= 0]
    frames = int(columns["frames"][row])
    told += [
        ("frames", f"{frames} ({frames / html.FRAMES_PER_SECOND:.1f} s at {html.FRAMES_PER_SECOND} a second)"),
        ("people", str(int(columns["bodies"][row]))),
    ]
    if store.confidence is not None and np.isfinite(store.confidence[row]).any():
        least = np.argsort(np.where(np.isfinite(store.confidence[row]), store.confidence[row], np.inf))[:3].tolist()
        sure = [f"{store.layout.joints[joint]} {store.confidence[row, joint]:.2f}" for joint in least]
        told.append(("least certain", ", ".join(sure).replace("_", " ")))
    told += [
        (name.removeprefix("quality_").replace("_", " "), str(int(values[row])))
        for name, values in columns.items()
        if name.startswith("quality_") and name != "quality_bodies_found" and values[row]
    ]
    return told


def write_clip_view(
    looked: ClipView, store: Store, *, html: Path | None, gif: Path | None, png: Path | None, poses: int
) -> list[Path]:
    """Write what is asked for; a page called after the clip, or the store, when nothing is.

    Returns:
        What was written.

    Raises:
        ConfigError: a name does not end as it must.
        OutputFailed: the disk refuses.
    """
    if not (html or gif or png):
        only = looked.figures[0].title if len(looked.figures) == 1 else f"clips of {store.name}"
        html = Path(re.sub(r"[^\w.+-]+", "-", only) + ".html")
    if html:
        write_page(looked, store, html)
    if gif:
        images.write_animation(looked.figures, gif)
    if png:
        images.write_strip(looked.figures, png, poses)
    return [path for path in (html, gif, png) if path]


def write_page(looked: ClipView, store: Store, out: Path) -> None:
    """Write one page that needs nothing but itself.

    Raises:
        OutputFailed: the disk refuses.
    """
    figures = looked.figures
    title = figures[0].title if len(figures) == 1 else f"{len(figures)} clips of {store.path.name}"
    about = f"{store.attributes['dataset']}, recipe {store.attributes['recipe']['name']}, store {store.digest[:12]}"
    text = html.render(
        "view.html",
        title=title,
        about=about,
        figures=figures,
        parts=list(figures[0].layout.parts),
    ).encode()
    atomic.write_file(out, text, needed=len(text))


def _matching(store: Store, pattern: str) -> list[int]:
    folded = pattern.lower()
    return [row for row, name in enumerate(store.names) if fnmatch.fnmatchcase(name.lower(), folded)]


def _example_names(store: Store) -> str:
    return ", ".join(store.names[:3]) + (f", ... ({len(store):,})" if len(store) > 3 else "")


def find_row(store: Store, sample: str) -> int:
    """The row of the one clip that a name or pattern means.

    Raises:
        ArtifactError: none has that name.
        SkelepipeError: several are meant.
    """
    these = find_rows(store, [sample])
    if len(these) > 1:
        raise SkelepipeError(f"{sample!r} means {len(these)} clips of {store.path}; name one")
    return these[0]
