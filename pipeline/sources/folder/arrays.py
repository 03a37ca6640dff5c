"""Read the array files of a folder data set (.npy, .npz, .csv, .tsv, .h5) into bodies in metres."""

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline import suggest
from pipeline.errors import RawFileError
from pipeline.files import raw_files, safe_numpy
from pipeline.files.raw_files import RawFile
from pipeline.files.safe_zip import BOMB_BYTES, BOMB_RATIO
from pipeline.skeleton.layout import Layout
from pipeline.sources.coordinate_limits import MAX_METRES, MAX_POSITION, explain_beyond, first_beyond
from pipeline.sources.folder.csv_table import Table, read_csv, split_bodies
from pipeline.sources.folder.skeleton_toml import FolderSpec

DEFAULT_KEYS = ("xyz", "data", "keypoints")
"""Keys of the coordinates in a file of several arrays, if it has one of these and the manifest.csv names no key."""
CONFIDENCE = "confidence"
"""Key of the array with the confidence of each joint, in a file whose coordinates have one of the default keys."""
MAX_BODIES = 8
"""An array with more bodies than this, and with more bodies than frames, has its first two axes swapped."""
NUDGE_METRES = 1e-9
"""Distance by which a joint at the origin is moved, because exactly (0, 0, 0) means missing."""

Stream = io.RawIOBase | io.BufferedIOBase
Arrays = Mapping[str, Callable[[], Any]]
"""Functions that read the arrays of a file, by key."""


@dataclass(frozen=True, slots=True)
class Bodies:
    """The bodies of one array of a file."""

    xyz: NDArray[np.float32]
    """(M, T, V, 3) metres, y up; a missing joint is at exactly (0, 0, 0), which all recipes understand."""
    first: int | None = None
    """Number of the first frame, in a file that numbers its frames."""
    confidence: NDArray[np.float32] | None = None
    """(M, T, V) from the file's array `confidence`; None if it has none."""


@contextmanager
def open_arrays(file: RawFile, spec: FolderSpec) -> Iterator[Callable[[str], Bodies]]:
    """Open a file and yield a function that reads the array of a key; the empty key means the only or default array.

    Raises:
        RawFileError: the file cannot be read. The yielded function raises it, too, if the file has no such array or
            the array is no recording.
    """
    with raw_files.open_file(file) as stream, ExitStack() as stack:
        arrays: Arrays = {"": partial(read_csv, stream, str(file), spec.layout)}
        if file.suffix.lower() not in TABLE_SUFFIXES:
            with _damage_as_error(file):
                arrays = OPENERS[file.suffix.lower()](stream, stack)

        def read_bodies(key: str) -> Bodies:
            name = _array_name(file, arrays, key)
            with _damage_as_error(file):
                array = arrays[name]()
            try:
                if isinstance(array, Table):
                    return Bodies(to_metres(array.bodies, spec), array.first)
                xyz = to_metres(_to_bodies(np.asarray(array), spec.layout), spec)
                if name not in DEFAULT_KEYS or CONFIDENCE not in arrays:
                    return Bodies(xyz)
                with _damage_as_error(file):
                    confidence = arrays[CONFIDENCE]()
                return Bodies(xyz, confidence=_confidence(np.asarray(confidence), xyz))
            except ValueError as error:
                raise RawFileError(str(file), 0, (f"{name}: " if name else "") + str(error)) from error

        yield read_bodies


@contextmanager
def open_shapes(file: RawFile) -> Iterator[Mapping[str, tuple[int, ...]]]:
    """Open an array file (not a table) and yield the shapes of its arrays by key.

    Raises:
        RawFileError: the file cannot be read.
    """
    with raw_files.open_file(file) as stream, ExitStack() as stack, _damage_as_error(file):
        read = OPENERS[file.suffix.lower()](stream, stack)
        yield {key: np.shape(array()) for key, array in read.items()}


def _open_numpy(stream: Stream, _: ExitStack) -> Arrays:
    """Open a .npy or .npz file; its content decides which of the two it is."""
    return safe_numpy.read_arrays(stream)


def _open_hdf5(stream: Stream, stack: ExitStack) -> Arrays:
    """Open the arrays stored in an HDF5 file itself; links and arrays that refer to other files are left out."""
    arrays: dict[str, Callable[[], Any]] = {}

    def add(name: str | bytes, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and not (item.external or item.is_virtual):
            # h5py gives bytes if the name is not UTF-8
            key = name if isinstance(name, str) else name.decode("utf-8", "backslashreplace")
            arrays[key] = partial(_read_dataset, item)

    stack.enter_context(h5py.File(stream, "r")).visititems(add)
    return arrays


def _read_dataset(item: h5py.Dataset) -> Any:
    """Read an array, unless its shape claims far more than the file stores; h5py would fill the rest with zeros."""
    stored = item.id.get_storage_size()
    if item.nbytes > BOMB_BYTES and item.nbytes > BOMB_RATIO * stored:
        raise ValueError(f"an array of {item.shape} out of {stored} bytes")
    return item[()]


OPENERS: Mapping[str, Callable[[Stream, ExitStack], Arrays]] = {
    ".npy": _open_numpy,
    ".npz": _open_numpy,
    ".h5": _open_hdf5,
    ".hdf5": _open_hdf5,
}
TABLE_SUFFIXES = (".csv", ".tsv")
SUFFIXES = (*OPENERS, *TABLE_SUFFIXES)
"""Suffixes of array files."""


@contextmanager
def _damage_as_error(file: RawFile) -> Iterator[None]:
    """Turn any error from reading a damaged file into a RawFileError; MemoryError is handled by the caller."""
    try:
        yield
    except (RawFileError, MemoryError):
        raise
    except Exception as error:  # numpy, zipfile and h5py raise nearly any exception for a damaged file
        if isinstance(error, OSError) and error.errno not in raw_files.FILE_ERRNOS:
            raise  # the disk reports an error: the file may be intact
        if "allow_pickle" in str(error):
            raise RawFileError(str(file), 0, "holds Python objects, which are not read; save numbers") from error
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise RawFileError(str(file), 0, f"cannot be read as {file.suffix}: {reason}") from error


def _array_name(file: RawFile, arrays: Arrays, key: str) -> str:
    """Return the name of the array of a key; for the empty key, the name of the only or default array."""
    names = ", ".join([*list(arrays)[:8], *(["..."] if len(arrays) > 8 else [])])
    if key:
        if key.strip("/") in arrays:
            return key.strip("/")
        has = f"it has {names or 'none'}" if "" not in arrays else "a file of this kind has one array without a name"
        raise RawFileError(str(file), 0, f"has no array {key!r}{suggest.did_you_mean(key.strip('/'), arrays)}; {has}")
    candidates = list(arrays) if len(arrays) == 1 else [name for name in DEFAULT_KEYS if name in arrays]
    if len(candidates) != 1:
        raise RawFileError(
            str(file),
            0,
            f"holds {len(arrays)} arrays ({names or 'none'}); name the one to use in the manifest's column key",
        )
    return candidates[0]


def _to_bodies(array: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """Reshape an array to (M, T, V, C).

    Raises:
        ValueError: the array does not have the shape of bodies; the text is the reason.
    """
    V = len(layout.joints)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"holds {array.dtype}, expected numbers")
    bodies = split_bodies(array, layout) if array.ndim == 2 else array[None] if array.ndim == 3 else array
    if bodies.ndim != 4 or bodies.shape[3] not in (2, 3):
        raise ValueError(
            f"has shape {array.shape}, expected (T, {V}, 3), (M, T, {V}, 3), the same with 2 instead of 3, "
            f"or (T, {3 * V})"
        )
    M, T, joints, _ = bodies.shape
    if joints != V:
        raise ValueError(f"has shape {array.shape}: {joints} joints, but layout {layout.name} has {V}")
    if not M or not T:
        raise ValueError(f"has shape {array.shape}: no {'frame' if M else 'body'}")
    if max(T, MAX_BODIES) < M:
        raise ValueError(f"has shape {array.shape}: {M} bodies in {T} frames; bodies come first, then frames")
    return bodies


def to_metres(bodies: NDArray[Any], spec: FolderSpec) -> NDArray[np.float32]:
    """Convert bodies (M, T, V, C) from the file's units and axes to those of `Bodies`; 2-D joints get z = 0.

    Raises:
        ValueError: the bodies are too large for people, or a joint is too far away; the text is the reason.
    """
    is_flat = bodies.shape[3] == 2
    xyz = spec.metres(np.concatenate([bodies, np.zeros_like(bodies[..., :1])], axis=3) if is_flat else bodies)
    for body in xyz:
        _nudge_centre(body, spec.layout)
    if (extent := _median_extent(xyz)) > MAX_METRES:
        raise ValueError(
            f"bodies are {extent:.4g} m across; set the units of these numbers in skeleton.toml, and scale pixels "
            "to about the size of people"
        )
    if beyond := first_beyond(xyz, MAX_POSITION):
        body, frame, joint, axis = beyond
        where = f"body {body}, frame {frame} (from 0)"
        raise ValueError(f"{where}: {explain_beyond(axis, spec.layout.joints[joint], xyz[beyond], MAX_POSITION)}")
    xyz[np.isnan(xyz)] = 0
    return xyz


def _confidence(array: NDArray[Any], xyz: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return an array as the confidence (M, T, V) of the joints of bodies (M, T, V, 3).

    Raises:
        ValueError: the array has no number for each joint; the text is the reason.
    """
    M, T, V = xyz.shape[:3]
    if array.dtype.kind not in "fiu" or array.shape not in ((M, T, V), *([(T, V)] if M == 1 else [])):
        raise ValueError(
            f"its array {CONFIDENCE} is {array.dtype} {array.shape}, expected numbers {(M, T, V)}, one for each joint; "
            "rename it if it means something else"
        )
    with np.errstate(over="ignore"):
        return array.reshape(M, T, V).astype(np.float32)


def _median_extent(xyz: NDArray[np.float32]) -> float:
    """Return the median, over all frames and bodies present, of the largest extent in metres; 0 when there is none."""
    known = ~np.isnan(xyz) & (xyz != 0).any(axis=3, keepdims=True)
    extents = np.where(known, xyz, -np.inf).max(axis=2) - np.where(known, xyz, np.inf).min(axis=2)
    present = extents[known.any(axis=(2, 3))]
    return float(np.median(present.max(axis=1))) if len(present) else 0.0


def _nudge_centre(body: NDArray[np.float32], layout: Layout) -> None:
    """Move the joint on which a body (T, V, 3) was centred off the origin, where it would count as missing.

    This is the only joint of the trunk that is at exactly (0, 0, 0) in all frames with the body, if the other joints
    are around it.
    """
    known = (body != 0).any(axis=2) & ~np.isnan(body[..., 0])  # (T, V)
    present = known.any(axis=1)
    trunk = {layout.parents.index(-1), layout.centre, *layout.spine}
    at_origin = [joint for joint in trunk if present.any() and not body[present, joint].any()]
    if len(at_origin) == 1:
        others = body[known]
        if np.median(np.linalg.norm(others, axis=1)) < np.linalg.norm(np.ptp(others, axis=0)):
            body[present, at_origin[0], 0] = NUDGE_METRES
