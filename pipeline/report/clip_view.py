"""Select clips of a store and show them as an HTML page, an image or an animation (`skelepipe view`)."""

import fnmatch
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ArtifactError, SkelepipeError
from pipeline.files import atomic
from pipeline.files.text_paths import accept_text_paths
from pipeline.report import html, images
from pipeline.report.figures import Figure, Panel
from pipeline.report.originals import find_raw_folders
from pipeline.skeleton.frame_rate import FRAMES_PER_SECOND
from pipeline.sources.source import NUMERIC_LABELS
from pipeline.store.store import Store
from pipeline.suggest import did_you_mean

MAX_CLIPS = 48
"""Maximum number of clips on one page."""
DEFAULT_CLIP_COUNT = 6
"""Number of clips shown if none is named."""
MAX_PAGE_NAME = 100
"""Maximum number of characters of a default page's name."""


@dataclass(frozen=True, kw_only=True)
class ClipView:
    """Figures, and notes on how they were made."""

    figures: list[Figure]
    notes: list[str] = field(default_factory=list)


def find_rows(store: Store, samples: Sequence[str]) -> list[int]:
    """Find clips by name (ignoring case), a pattern such as `S001*A043`, or a class; without any, one of each class.

    A class is given by its name or as `A043`; of a class, the first clips are taken.

    Raises:
        ArtifactError: no clip has that name (the message lists examples), or there are too many for one page.
    """
    if not samples:
        _, first = np.unique(store.columns["label"], return_index=True)
        return sorted(first.tolist())[:DEFAULT_CLIP_COUNT]
    row_of = {name: row for row, name in enumerate(store.names)}
    folded = {name.lower(): row for name, row in row_of.items()}
    found: dict[int, None] = {}
    for sample in samples:
        exact = row_of.get(sample, folded.get(sample.lower()))
        rows = [exact] if exact is not None else _matching(store, sample) or _of_class(store, sample)
        if not rows:
            known = [*(title.split(" ", 1)[-1] for title in _class_titles(store).values()), *store.names]
            hint = f"{did_you_mean(sample, known)}; it contains {_example_names(store)}"
            raise ArtifactError(f"{store.path}: no clip and no class is called {sample!r}{hint}")
        found |= dict.fromkeys(rows)
    if len(found) > MAX_CLIPS:
        raise ArtifactError(f"{store.path}: {len(found):,} clips match, a page can show {MAX_CLIPS}; name fewer")
    return list(found)


def _of_class(store: Store, sample: str) -> list[int]:
    """Return the first rows of the class with this name or title, such as `brushing hair` or `A004`."""
    wanted = sample.lower()
    titles = {label: title.lower() for label, title in _class_titles(store).items()}
    found = [label for label, title in titles.items() if wanted in (title, *title.split(" ", 1))]
    return [int(row) for row in np.flatnonzero(np.isin(store.columns["label"], found))[:DEFAULT_CLIP_COUNT]]


def _class_titles(store: Store) -> dict[int, str]:
    return {label: store.class_name(label) for label in np.unique(store.columns["label"]).tolist()}


@accept_text_paths
def collect_clips(store: Store, rows: Sequence[int], roots: Sequence[Path], default_root: Path) -> ClipView:
    """Collect clips of a store, each next to its original recording if that is found.

    Args:
        store: the store.
        rows: rows of the clips.
        roots: folders and zips of the raw recordings.
        default_root: a folder to search if no root is given.

    Raises:
        SkelepipeError: a root does not exist, or contains no recording of the data set.
    """
    originals, notes = find_raw_folders(store, roots, default_root)
    figures, missing = [], []
    for row in rows:
        original = originals.find(row) if originals else None
        title = f"in the store (recipe {store.attributes['recipe']['name']})"
        repaired = original.repaired if original else None
        panels = [Panel(title=title, xyz=store.clip(row), repaired=repaired, note=_describe_repairs(repaired))]
        if original is not None:
            first, last = int(original.frames[0]) + 1, int(original.frames[-1]) + 1
            note = f"frames {first} to {last} of {original.xyz.shape[1]}"
            panels.insert(
                0,
                Panel(
                    title="as recorded",
                    xyz=original.xyz[:, original.frames],
                    repaired=original.repaired_as_recorded,
                    note=note if original.is_exact else f"{note}, spread over the clip",
                ),
            )
        elif originals:
            missing.append(store.names[row])
        heading = store.class_name(int(store.columns["label"][row]))
        facts = clip_facts(store, row)
        figures.append(Figure(title=store.names[row], heading=heading, layout=store.layout, panels=panels, facts=facts))
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        notes.append(f"original recording not found or changed: {', '.join(missing[:5])}{more}")
    return ClipView(figures=figures, notes=notes)


def _describe_repairs(repaired: NDArray[np.bool_] | None) -> str:
    """State how many joints are marked by a ring, and where the first is."""
    if repaired is None or not repaired.any():
        return ""
    frames = np.flatnonzero(repaired.any(axis=(0, 2)))
    where = f"frame {frames[0] + 1}" if len(frames) == 1 else f"frames {frames[0] + 1} to {frames[-1] + 1}"
    count = int(repaired.sum())
    return f"rings: {count:,} repaired joint{'s' if count > 1 else ''}, {where}"


def clip_facts(store: Store, row: int) -> list[tuple[str, str]]:
    """List what a store knows about a clip: class, subject, camera, ..., length, and the counts of its recipe."""
    columns = store.columns
    facts = [("class", store.class_name(int(columns["label"][row])))]
    facts += [(name, str(value)) for name in NUMERIC_LABELS if (value := int(columns[name][row])) >= 0]
    frames = int(columns["frames"][row])
    facts += [
        ("frames", f"{frames} ({frames / FRAMES_PER_SECOND:.1f} s at {FRAMES_PER_SECOND} frames per second)"),
        ("people", str(int(columns["bodies"][row]))),
    ]
    if store.confidence is not None and np.isfinite(store.confidence[row]).any():
        lowest = np.argsort(np.where(np.isfinite(store.confidence[row]), store.confidence[row], np.inf))[:3].tolist()
        confidences = [f"{store.layout.joints[joint]} {store.confidence[row, joint]:.2f}" for joint in lowest]
        facts.append(("least certain", ", ".join(confidences).replace("_", " ")))
    counts = [
        (name.removeprefix("quality_").replace("_", " "), str(int(values[row])))
        for name, values in columns.items()
        if name.startswith("quality_") and name != "quality_bodies_found" and values[row]
    ]
    return facts + (counts or [("repairs", "nothing was repaired in this clip")])


def default_page(view: ClipView, store: Store) -> Path:
    """Return the path of a page in the current folder that is named after the clip or the store."""
    name = view.figures[0].title if len(view.figures) == 1 else f"clips of {store.name}"
    return Path(re.sub(r"[^\w.+-]+", "-", name).lstrip(".-")[:MAX_PAGE_NAME] + ".html")


@accept_text_paths
def write_clip_view(
    view: ClipView,
    store: Store,
    *,
    html: Path | None = None,
    gif: Path | None = None,
    png: Path | None = None,
    poses: int = 8,
) -> list[Path]:
    """Write the requested files; without any, the default page.

    Returns:
        The paths of the files.

    Raises:
        ConfigError: a file name has the wrong suffix.
        OutputFailed: the disk refuses.
    """
    if not (html or gif or png):
        html = default_page(view, store)
    if html:
        write_page(view, store, html)
    if gif:
        images.write_animation(view.figures, gif)
    if png:
        images.write_strip(view.figures, png, poses)
    return [path for path in (html, gif, png) if path]


def write_page(view: ClipView, store: Store, out: Path) -> None:
    """Write one self-contained HTML page.

    Raises:
        OutputFailed: the disk refuses.
    """
    figures = view.figures
    title = figures[0].title if len(figures) == 1 else f"{len(figures)} clips of {store.path.name}"
    about = f"{store.attributes['dataset']}, recipe {store.attributes['recipe']['name']}, store {store.digest[:12]}"
    shown, classes = len({figure.heading for figure in figures}), len(np.unique(store.columns["label"]))
    if len(figures) > 1 and shown < classes:
        about += f"; {shown} of {classes} classes"
    text = html.render(
        "view.html",
        title=title,
        about=about,
        figures=figures,
        parts=list(figures[0].layout.parts),
    ).encode()
    atomic.write_file(out, text, needed=len(text))


def _matching(store: Store, pattern: str) -> list[int]:
    folded = unicodedata.normalize("NFC", pattern).lower()
    return [row for row, name in enumerate(store.names) if fnmatch.fnmatchcase(name.lower(), folded)]


def _example_names(store: Store) -> str:
    return ", ".join(store.names[:3]) + (f", ... ({len(store):,})" if len(store) > 3 else "")


def find_row(store: Store, sample: str) -> int:
    """Find the only clip that matches a name or pattern.

    Raises:
        ArtifactError: no clip matches.
        SkelepipeError: several clips match.
    """
    rows = find_rows(store, [sample])
    if len(rows) > 1:
        raise SkelepipeError(f"{sample!r} matches {len(rows)} clips of {store.path}; name one")
    return rows[0]
