"""A store in other people's formats; `npz` so far: padded arrays that numpy opens without skelepipe."""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ArtifactError
from pipeline.publish import write_file
from pipeline.store import Store

BODIES = 2
"""M of the exported array: what every code base of the field expects."""


def padded(clip: NDArray[np.float32], frames: int, bodies: int = BODIES) -> NDArray[np.float32]:
    """A clip (M', T', V, 3) as (C, T, V, M): absent bodies, missing joints and frames past the end are 0."""
    whole = np.zeros((3, frames, clip.shape[2], bodies), np.float32)
    kept = clip[:bodies].transpose(3, 1, 2, 0)
    whole[:, : clip.shape[1], :, : kept.shape[3]] = np.where(np.isfinite(kept), kept, np.float32(0))
    return whole


def npz(store: Store, output: Path) -> None:
    """Write all clips in order of name as one .npz, streaming: one clip and one shard in memory.

    `data` float32 (N, 3, T, V, 2) metres with T the longest clip; `lengths` int32; `names` unicode;
    `labels`, `subjects`, `cameras`, `setups`, `replications` int64, -1 where unknown. Loads with allow_pickle=False.

    Raises:
        ArtifactError: the store is damaged.
        OutputFailed: the disk refuses.
    """
    if store.columns["bodies"].max() > BODIES:
        raise ArtifactError(f"{store.path}: has clips of more than {BODIES} bodies, which this format cannot hold")
    store.check()
    names = np.array(store.names, np.str_)
    order = np.argsort(names, kind="stable")
    clips = store.clips() if (np.diff(order) > 0).all() else map(store.clip, order.tolist())
    small: dict[str, NDArray[Any]] = {
        "lengths": store.columns["frames"][order].astype(np.int32),
        "names": names[order],
        **{
            f"{column}s": store.columns[column][order].astype(np.int64)
            for column in ("label", "subject", "camera", "setup", "replication")
        },
    }
    frames = int(store.columns["frames"].max())
    shape = (len(store), 3, frames, len(store.layout.joints), BODIES)

    def fill(handle: BinaryIO) -> None:
        with zipfile.ZipFile(handle, "w") as archive:
            _write_array(
                archive, "data", np.dtype(np.float32), shape, (padded(clip, frames).tobytes() for clip in clips)
            )
            for name, values in small.items():
                _write_array(archive, name, values.dtype, values.shape, iter([values.tobytes()]))

    write_file(output, fill)


def _write_array(
    archive: zipfile.ZipFile, name: str, dtype: np.dtype[Any], shape: tuple[int, ...], blocks: Iterator[bytes]
) -> None:
    """One .npy member, C order; dated 1980 so that the same store gives the same bytes."""
    with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(member, header)
        for block in blocks:
            member.write(block)
