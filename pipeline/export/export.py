"""A store in the formats that others train on; written clip by clip, whole or not at all."""

import shutil
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, assert_never

from pipeline.errors import ArtifactError, ConfigError, OutputExists
from pipeline.export import hdf5, npz, pyskl, stgcn
from pipeline.export.arrays import Progress, Stream, array_frames, refuse_extra_bodies, refuse_unlabelled
from pipeline.files import atomic
from pipeline.files.disk import disk_errors, require_free_space
from pipeline.files.locks import sole_writer
from pipeline.store import split_rules
from pipeline.store.batches import MAX_BODIES
from pipeline.store.build_splits import build_splits
from pipeline.store.splits import Split, built_split_names, find_split, is_split_path
from pipeline.store.store import Store

ExportFormat = Literal["npz", "ctrgcn", "stgcn", "pyskl", "hdf5"]
FORMATS_WITH_OPTION: Mapping[str, tuple[ExportFormat, ...]] = {
    "split": ("ctrgcn", "stgcn"),
    "streams": ("stgcn",),
    "dtype": ("pyskl",),
}
"""Which formats each option of a request means something to."""

LABELLED_FORMATS: tuple[ExportFormat, ...] = ("ctrgcn", "stgcn", "pyskl")
"""The formats that are for classifying: every clip has a label there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportRequest:
    """What the user asks of an export; None is the format's default."""

    store: Store
    form: ExportFormat
    output: Path
    split: str | None = None
    """The split whose sides are written; xsub, else the first there is."""
    streams: tuple[Stream, ...] = ()
    """What of a clip is written, each in a file of its own; its joints when nothing is said."""
    dtype: pyskl.KeypointDtype | None = None
    """float32; PYSKL's own script rounds to float16."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportResult:
    """What an export wrote."""

    out: Path
    format: ExportFormat
    clips: int
    """Rows written; those in neither side of a split are not."""
    splits: list[str]
    bytes: int


def export(request: ExportRequest, progress: Callable[[int, int], None] = lambda done, total: None) -> ExportResult:
    """Write a store in another format, exactly to where the request says.

    A split that the format needs and that has not been built is built.

    Args:
        request: what is asked.
        progress: is told how many clips of how many are done.

    Raises:
        ConfigError: an option that means nothing to the format, or no such split.
        ArtifactError: the store is damaged or has what the format cannot hold.
        OutputExists: a folder with something else in it stands where a folder is to go.
        OutputLocked: another process is writing there.
        OutputFailed: the disk has not enough room, or refuses.
    """
    store, form, output = request.store, request.form, request.output
    for option, forms in FORMATS_WITH_OPTION.items():
        if getattr(request, option) and form not in forms:
            raise ConfigError(
                f"--{option.removesuffix('s')} means nothing to --format {form}, only to {' and '.join(forms)}"
            )
    store.check()
    refuse_extra_bodies(store)
    if form in LABELLED_FORMATS:
        refuse_unlabelled(store)
    sides = _splits(request)
    rows = sum(len(side) for split in sides[:1] for side in (split.train, split.test))
    clips = rows if form in FORMATS_WITH_OPTION["split"] else len(store)
    total = clips * max(1, len(request.streams))
    finished = 0

    def done(more: int) -> None:
        nonlocal finished
        finished += more
        progress(finished, total)

    with sole_writer(output):
        atomic.remove_partials(output.parent, output.name)
        needed = _bytes(request, total)
        require_free_space(output, needed)
        if form == "stgcn":
            _folder(request, sides[0], needed, done)
        elif form == "hdf5":
            with atomic.atomic_path(output, needed=needed) as partial:
                hdf5.write_hdf5(store, sides, partial, done)
        elif form == "npz":
            atomic.write_file(output, lambda handle: npz.write_npz(store, handle, done), needed=needed)
        elif form == "ctrgcn":
            atomic.write_file(output, lambda handle: npz.write_ctrgcn(store, sides[0], handle, done), needed=needed)
        elif form == "pyskl":
            dtype = request.dtype or "float32"
            atomic.write_file(
                output, lambda handle: pyskl.write_pyskl(store, sides, dtype, handle, done), needed=needed
            )
        else:
            assert_never(form)
    size = sum(path.stat().st_size for path in output.rglob("*")) if output.is_dir() else output.stat().st_size
    return ExportResult(out=output, format=form, clips=clips, splits=[split.name for split in sides], bytes=size)


def _splits(request: ExportRequest) -> list[Split]:
    """The splits that an export holds: the one asked for, or all that there are; built when there is none."""
    store = request.store
    if request.form == "npz":
        return []
    there = built_split_names(store)
    if request.split is not None:
        built = request.split in there or is_split_path(request.split)
        return [find_split(store, request.split) if built else _built(store, request.split)]
    one = request.form in FORMATS_WITH_OPTION["split"]
    if not there and split_rules.available_rules(store):
        with nullcontext() if one else suppress(ArtifactError):  # none can be made: there is nothing to write of them
            build_splits(store)
        there = built_split_names(store)
    return [find_split(store)] if one else [find_split(store, name) for name in there]


def _built(store: Store, name: str) -> Split:
    return build_splits(store, [name]).splits[0]


def _bytes(request: ExportRequest, clips: int) -> int:
    """About how much an export writes; of a compressed one what is in it."""
    store = request.store
    joint, joints = 12, len(store.layout.joints)
    if request.form in {"pyskl", "hdf5"}:
        return int(store.offset[-1]) * joints * (joint // 2 if request.dtype == "float16" else joint)
    frames = int(store.columns["frames"].max())
    room = frames if request.form == "npz" else array_frames(store)
    return clips * room * joints * MAX_BODIES * joint


def _folder(request: ExportRequest, split: Split, needed: int, done: Progress) -> None:
    """Write a folder beside its place and rename it; only a folder of such files is replaced."""
    output = request.output
    there = sorted(path.name for path in output.iterdir()) if output.is_dir() else []
    if output.exists() and (not output.is_dir() or not set(there) <= stgcn.file_names()):
        raise OutputExists(f"{output}: is there and holds something else; name another --out, it becomes a folder")
    making = output.with_name(f".{output.name}.making")
    with disk_errors(output, needed):
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir()
        try:
            stgcn.write_stgcn(request.store, split, request.streams, making, done)
            atomic.publish_folder(making, output)
        finally:
            shutil.rmtree(making, ignore_errors=True)
