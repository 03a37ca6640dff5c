"""Export a store to the file format of another code base, clip by clip, with an atomic rename at the end."""

import shutil
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, assert_never

from pipeline.errors import ArtifactError, ConfigError, OutputExists, printable_name
from pipeline.export import hdf5, npz, pyskl, stgcn
from pipeline.export.arrays import Progress, Stream, array_frames, refuse_extra_bodies, refuse_unlabelled
from pipeline.files import atomic
from pipeline.files.disk import disk_errors, require_free_space
from pipeline.files.locks import sole_writer
from pipeline.files.system_files import entries
from pipeline.files.text_paths import request_with_text_paths
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
"""The formats that each option applies to."""

LABELLED_FORMATS: tuple[ExportFormat, ...] = ("ctrgcn", "stgcn", "pyskl")
"""The formats for classification, in which every clip must have a label."""

JOINT_BYTES = 12
LARGE_BYTES = 4 << 30
"""An export that is larger, mostly by padding, gets a note."""


@request_with_text_paths
@dataclass(frozen=True, kw_only=True, slots=True)
class ExportRequest:
    """Options of an export; None is the default of the format."""

    store: Store
    format: ExportFormat
    output: Path
    split: str | None = None
    """The split whose sides are written; by default xsub, otherwise the first."""
    streams: tuple[Stream, ...] = ()
    """The streams to write, one file each; by default only joints."""
    dtype: pyskl.KeypointDtype | None = None
    """By default float32; the script of PYSKL rounds to float16."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportResult:
    """The result of an export."""

    out: Path
    format: ExportFormat
    clips: int
    """Number of clips written; clips on neither side of the split are not."""
    splits: list[str]
    bytes: int


def padding_note(request: ExportRequest) -> str:
    """Return a note on the size of an export that is large because all clips are padded to the longest, or nothing."""
    store = request.store
    if request.format in {"pyskl", "hdf5"} or not len(store):
        return ""
    frames = store.columns["frames"]
    clips = len(store) * max(1, len(request.streams))
    padded, content = _estimate_bytes(request, clips), int(store.offset[-1]) * len(store.layout.joints) * JOINT_BYTES
    if padded <= LARGE_BYTES or padded <= 2 * content * max(1, len(request.streams)):
        return ""
    longest = printable_name(store.names[int(frames.argmax())])
    return (
        f"{request.output}: about {padded / 1e9:.1f} GB for {content / 1e9:.2g} GB of positions, because every clip is "
        f"padded to the longest, {longest} with {frames.max()} frames; pyskl does not pad, hdf5 compresses the padding"
    )


def export(request: ExportRequest, progress: Callable[[int, int], None] = lambda done, total: None) -> ExportResult:
    """Write a store in another format to the output path of the request.

    Splits that the format needs are built if they do not exist.

    Args:
        request: the options.
        progress: called with the numbers of finished and of all clips.

    Raises:
        ConfigError: an option does not apply to the format, or there is no such split.
        ArtifactError: the store is damaged, or has clips that the format cannot hold.
        OutputExists: the output folder contains other files.
        OutputLocked: another process is writing the output.
        OutputFailed: there is not enough space, or the disk cannot be written.
    """
    store, output = request.store, request.output
    for option, formats in FORMATS_WITH_OPTION.items():
        if getattr(request, option) and request.format not in formats:
            raise ConfigError(
                f"--{option.removesuffix('s')} does not apply to --format {request.format}, "
                f"only to {' and '.join(formats)}"
            )
    store.check()
    refuse_extra_bodies(store)
    if request.format in LABELLED_FORMATS:
        refuse_unlabelled(store)
    sides = _splits(request)
    rows = sum(len(side) for split in sides[:1] for side in (split.train, split.test))
    clips = rows if request.format in FORMATS_WITH_OPTION["split"] else len(store)
    total = clips * max(1, len(request.streams))
    finished = 0

    def advance(count: int) -> None:
        nonlocal finished
        finished += count
        progress(finished, total)

    with sole_writer(output):
        atomic.remove_partials(output.parent, output.name)
        needed = _estimate_bytes(request, total)
        require_free_space(output, needed)
        if request.format == "stgcn":
            _write_stgcn_folder(request, sides[0], needed, advance)
        elif request.format == "hdf5":
            with atomic.atomic_path(output, needed=needed) as partial:
                hdf5.write_hdf5(store, sides, partial, advance)
        elif request.format == "npz":
            atomic.write_file(output, lambda handle: npz.write_npz(store, handle, advance), needed=needed)
        elif request.format == "ctrgcn":
            atomic.write_file(output, lambda handle: npz.write_ctrgcn(store, sides[0], handle, advance), needed=needed)
        elif request.format == "pyskl":
            dtype = request.dtype or "float32"
            atomic.write_file(
                output, lambda handle: pyskl.write_pyskl(store, sides, dtype, handle, advance), needed=needed
            )
        else:
            assert_never(request.format)
    size = sum(path.stat().st_size for path in output.rglob("*")) if output.is_dir() else output.stat().st_size
    return ExportResult(
        out=output, format=request.format, clips=clips, splits=[split.name for split in sides], bytes=size
    )


def _splits(request: ExportRequest) -> list[Split]:
    """Return the splits to export: the one requested, or all; they are built if none exists."""
    store = request.store
    if request.format == "npz":
        return []
    existing = built_split_names(store)
    if request.split is not None:
        built = request.split in existing or is_split_path(request.split)
        return [find_split(store, request.split) if built else _build_split(store, request.split)]
    single = request.format in FORMATS_WITH_OPTION["split"]
    if not existing and split_rules.available_rules(store):
        with nullcontext() if single else suppress(ArtifactError):  # no split can be built: export without splits
            build_splits(store)
        existing = built_split_names(store)
    return [find_split(store)] if single else [find_split(store, name) for name in existing]


def _build_split(store: Store, name: str) -> Split:
    return build_splits(store, [name]).splits[0]


def _estimate_bytes(request: ExportRequest, clips: int) -> int:
    """Estimate the size of an export in bytes, before compression."""
    store = request.store
    joints = len(store.layout.joints)
    if request.format in {"pyskl", "hdf5"}:
        return int(store.offset[-1]) * joints * (JOINT_BYTES // 2 if request.dtype == "float16" else JOINT_BYTES)
    frames = int(store.columns["frames"].max()) if request.format == "npz" else array_frames(store)
    return clips * frames * joints * MAX_BODIES * JOINT_BYTES


def _write_stgcn_folder(request: ExportRequest, split: Split, needed: int, progress: Progress) -> None:
    """Write a temporary folder and rename it; an existing folder is replaced only if it has no other files."""
    output = request.output
    existing = sorted(path.name for path in entries(output)) if output.is_dir() else []
    if output.exists() and (not output.is_dir() or not set(existing) <= stgcn.file_names()):
        raise OutputExists(f"{output}: exists and has other files; choose a new folder with --out")
    partial = output.with_name(f".{output.name}.making")
    with disk_errors(output, needed):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            stgcn.write_stgcn(request.store, split, request.streams, partial, progress)
            atomic.publish_folder(partial, output)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
