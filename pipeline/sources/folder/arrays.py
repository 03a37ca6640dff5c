"""A file of a folder data set to bodies in metres: .npy, .npz, .csv or .h5, with one recording in it or several."""

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
from pipeline.sources.folder.csv_table import Table, read_csv, split_bodies
from pipeline.sources.folder.skeleton_toml import FolderSpec

USUAL = ("xyz", "data", "keypoints")
"""The array that is meant in a file of several, when it has just one of these and the manifest names none."""
CONFIDENCE = "confidence"
"""The array beside that one which says how sure each joint is."""
MAX_BODIES = 8
"""More bodies than this, and than frames, and the first two axes are the wrong way round."""
MAX_METRES = 100
"""A body is never so far across: the numbers are in other units, or pixels."""
NUDGE = 1e-9
"""Metres by which a joint at the origin is moved."""

Stream = io.RawIOBase | io.BufferedIOBase
Arrays = Mapping[str, Callable[[], Any]]
"""What a file holds, by key, each read when it is called."""


@dataclass(frozen=True, slots=True)
class Bodies:
    """What one array of a file shows."""

    xyz: NDArray[np.float32]
    """(M, T, V, 3) metres, y up; a missing joint is at exactly (0, 0, 0), which all recipes understand."""
    first: int | None = None
    """Number of the first frame, in a file that numbers its frames."""
    confidence: NDArray[np.float32] | None = None
    """(M, T, V) as the file's array `confidence` has it; None where there is none."""


@contextmanager
def open_arrays(file: RawFile, spec: FolderSpec) -> Iterator[Callable[[str], Bodies]]:
    """Open a file; what is yielded reads the array under a key, which is empty when the manifest names none.

    Raises:
        RawFileError: the file cannot be read, or (from what is yielded) has no such array, or that is no recording.
    """
    with raw_files.opened(file) as stream, ExitStack() as stack:
        arrays: Arrays = {"": partial(read_csv, stream, str(file), spec.layout)}
        if file.suffix.lower() != ".csv":
            with _damage_told(file):
                arrays = OPEN[file.suffix.lower()](stream, stack)

        def bodies(key: str) -> Bodies:
            name = _pick(file, arrays, key)
            with _damage_told(file):
                found = arrays[name]()
            try:
                if isinstance(found, Table):
                    return Bodies(_joints(found.bodies, spec), found.first)
                xyz = _joints(_bodies(np.asarray(found), spec.layout), spec)
                if name not in USUAL or CONFIDENCE not in arrays:
                    return Bodies(xyz)
                with _damage_told(file):
                    sure = arrays[CONFIDENCE]()
                return Bodies(xyz, confidence=_confidence(np.asarray(sure), xyz))
            except ValueError as error:
                raise RawFileError(str(file), 0, (f"{name}: " if name else "") + str(error)) from error

        yield bodies


def _numpy(stream: Stream, _: ExitStack) -> Arrays:
    """The arrays of a .npy or .npz file, whichever it really is."""
    return safe_numpy.read(stream)


def _hdf5(stream: Stream, stack: ExitStack) -> Arrays:
    """The arrays that lie in an HDF5 file itself: no link and no array that leads out of it."""
    arrays: dict[str, Callable[[], Any]] = {}

    def note(name: str | bytes, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and not (item.external or item.is_virtual):
            shown = name if isinstance(name, str) else name.decode("utf-8", "backslashreplace")  # h5py gives the bytes
            arrays[shown] = partial(_dataset, item)

    stack.enter_context(h5py.File(stream, "r")).visititems(note)
    return arrays


def _dataset(item: h5py.Dataset) -> Any:
    """An array, unless it claims far more than the file has: what was never written comes back as so many zeros."""
    stored = item.id.get_storage_size()
    if item.nbytes > BOMB_BYTES and item.nbytes > BOMB_RATIO * stored:
        raise ValueError(f"an array of {item.shape} out of {stored} bytes")
    return item[()]


OPEN: Mapping[str, Callable[[Stream, ExitStack], Arrays]] = {
    ".npy": _numpy,
    ".npz": _numpy,
    ".h5": _hdf5,
    ".hdf5": _hdf5,
}
SUFFIXES = (*OPEN, ".csv")
"""The kinds of file."""


@contextmanager
def _damage_told(file: RawFile) -> Iterator[None]:
    try:
        yield
    except RawFileError:
        raise
    except Exception as error:  # numpy, zipfile and h5py raise nearly anything over a damaged file
        if "allow_pickle" in str(error):
            raise RawFileError(str(file), 0, "holds Python objects, which are not read; save numbers") from error
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise RawFileError(str(file), 0, f"cannot be read as {file.suffix}: {reason}") from error


def _pick(file: RawFile, arrays: Arrays, key: str) -> str:
    """The key of the array that is meant."""
    names = ", ".join([*list(arrays)[:8], *(["..."] if len(arrays) > 8 else [])])
    if key:
        if key.strip("/") in arrays:
            return key.strip("/")
        has = f"it has {names or 'none'}" if "" not in arrays else "a file of this kind holds one array without a name"
        raise RawFileError(str(file), 0, f"has no array {key!r}{suggest.meant(key.strip('/'), arrays)}; {has}")
    meant = list(arrays) if len(arrays) == 1 else [name for name in USUAL if name in arrays]
    if len(meant) != 1:
        raise RawFileError(
            str(file), 0, f"holds {len(arrays)} arrays ({names or 'none'}); name the one in the manifest's column key"
        )
    return meant[0]


def _bodies(found: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """An array as (M, T, V, C).

    Raises:
        ValueError: it is no such thing; the text is the reason.
    """
    V = len(layout.joints)
    if found.dtype.kind not in "fiu":
        raise ValueError(f"holds {found.dtype}, expected numbers")
    shaped = split_bodies(found, layout) if found.ndim == 2 else found[None] if found.ndim == 3 else found
    if shaped.ndim != 4 or shaped.shape[3] not in (2, 3):
        raise ValueError(
            f"has shape {found.shape}, expected (T, {V}, 3), (M, T, {V}, 3), 2 in place of 3, or (T, {3 * V})"
        )
    M, T, joints, _ = shaped.shape
    if joints != V:
        raise ValueError(f"has shape {found.shape}: {joints} joints, but layout {layout.name} has {V}")
    if not M or not T:
        raise ValueError(f"has shape {found.shape}: no {'frame' if M else 'body'}")
    if max(T, MAX_BODIES) < M:
        raise ValueError(f"has shape {found.shape}: {M} bodies in {T} frames; bodies come first, then frames")
    return shaped


def _joints(bodies: NDArray[Any], spec: FolderSpec) -> NDArray[np.float32]:
    """Bodies (M, T, V, C) as the file has them to what `Bodies` promises; 2-D joints get z = 0.

    Raises:
        ValueError: they are larger than bodies are; the text is the reason.
    """
    flat = bodies.shape[3] == 2
    xyz = spec.metres(np.concatenate([bodies, np.zeros_like(bodies[..., :1])], axis=3) if flat else bodies)
    for body in xyz:
        _keep_origin(body, spec.layout)
    if (across := _across(xyz)) > MAX_METRES:
        raise ValueError(
            f"bodies are {across:.4g} m across; say in skeleton.toml what units these numbers are in, and scale pixels "
            "to about the size of people"
        )
    xyz[np.isnan(xyz)] = 0
    return xyz


def _confidence(found: NDArray[Any], xyz: NDArray[np.float32]) -> NDArray[np.float32]:
    """How sure each joint of bodies (M, T, V, 3) is, (M, T, V).

    Raises:
        ValueError: the array is no such thing; the text is the reason.
    """
    M, T, V = xyz.shape[:3]
    if found.dtype.kind not in "fiu" or found.shape not in ((M, T, V), *([(T, V)] if M == 1 else [])):
        raise ValueError(
            f"its array {CONFIDENCE} is {found.dtype} {found.shape}, expected numbers {(M, T, V)}, one for each joint; "
            "call it something else if it is another thing"
        )
    with np.errstate(over="ignore"):
        return found.reshape(M, T, V).astype(np.float32)


def _across(xyz: NDArray[np.float32]) -> float:
    """How far across bodies (M, T, V, 3) are: the median over all that are there, in metres; 0 when none is."""
    known = ~np.isnan(xyz) & (xyz != 0).any(axis=3, keepdims=True)
    extents = np.where(known, xyz, -np.inf).max(axis=2) - np.where(known, xyz, np.inf).min(axis=2)
    there = extents[known.any(axis=(2, 3))]
    return float(np.median(there.max(axis=1))) if len(there) else 0.0


def _keep_origin(body: NDArray[np.float32], layout: Layout) -> None:
    """Move the joint on which a body (T, V, 3) is centred off the origin, where it would be taken for missing.

    It is the one joint of the trunk that is at exactly (0, 0, 0) whenever the body is there, and the body is about it.
    """
    known = (body != 0).any(axis=2) & ~np.isnan(body[..., 0])  # (T, V)
    there = known.any(axis=1)
    trunk = {layout.parents.index(-1), layout.centre, *layout.spine}
    at_origin = [joint for joint in trunk if there.any() and not body[there, joint].any()]
    if len(at_origin) == 1:
        others = body[known]
        if np.median(np.linalg.norm(others, axis=1)) < np.linalg.norm(np.ptp(others, axis=0)):
            body[there, at_origin[0], 0] = NUDGE
