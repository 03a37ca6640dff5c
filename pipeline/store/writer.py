"""Write a store clip by clip; the small arrays, attributes and the manifest with checksums come last."""

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.errors import ZarrUserWarning

from pipeline.artifacts import manifest, schemas
from pipeline.store.columns import (
    CHUNK_BODY_FRAMES,
    COLUMNS,
    CONFIDENCE,
    QUARANTINE_FILE,
    SHARD_BODY_FRAMES,
    TEXT_COLUMNS,
)


class StoreWriter:
    """Writes a new store clip by clip, in row order, with one shard in memory."""

    def __init__(self, folder: Path, joints: int, rows: int) -> None:
        """Create an empty store.

        Args:
            folder: path of the store; must not exist.
            joints: V of the layout.
            rows: F, the body-frames of all clips.
        """
        self.folder = folder
        self._group = zarr.create_group(store=str(folder), zarr_format=3)
        self._xyz = self._group.create_array(
            "xyz",
            shape=(3, joints, rows),
            dtype="float32",
            chunks=(3, joints, CHUNK_BODY_FRAMES),
            shards=(3, joints, SHARD_BODY_FRAMES),
            compressors=[BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle", typesize=4), Crc32cCodec()],
            fill_value=float("nan"),
            dimension_names=("C", "V", "body_frame"),
            config={"write_empty_chunks": True},
        )
        self._rows = rows
        self._written = 0
        self._buffer = np.empty((3, joints, min(SHARD_BODY_FRAMES, rows)), np.float32)
        self._filled = 0

    def append(self, rows: NDArray[np.float32]) -> None:
        """Add the next body-frames, (F', V, 3) in metres."""
        while len(rows):
            count = min(len(rows), self._buffer.shape[2] - self._filled)
            self._buffer[:, :, self._filled : self._filled + count] = rows[:count].transpose(2, 1, 0)
            self._filled += count
            rows = rows[count:]
            if self._filled == self._buffer.shape[2]:
                self.flush()

    def finish(
        self,
        texts: Mapping[str, Sequence[str]],
        extra: Mapping[str, Sequence[str]],
        columns: Mapping[str, NDArray[Any]],
        attributes: Mapping[str, Any],
        quarantine: list[Any],
        confidence: NDArray[np.float32] | None = None,
    ) -> str:
        """Write the small arrays, the attributes and quarantine.json, and the manifest last.

        Args:
            texts: N texts for each of TEXT_COLUMNS, in row order.
            extra: N texts for each of the data set's own columns.
            columns: N values for each of COLUMNS.
            attributes: data set, layout, recipe, sources and so on.
            quarantine: the recordings that could not be used.
            confidence: (N, V) mean confidence of each joint in each clip; None if no clip has any.

        Returns:
            The store's digest.
        """
        self.flush()
        if self._written != self._rows:
            raise ValueError(f"{self._written} of {self._rows} body-frames were written")
        lengths = columns["frames"].astype(np.int64) * columns["bodies"]
        self._write_column("offset", np.concatenate([[0], np.cumsum(lengths)]), "first column of clip n in xyz")
        for name, meaning in TEXT_COLUMNS.items():
            self._write_text(name, texts[name], meaning)
        for index, (name, values) in enumerate(extra.items()):
            self._write_text(f"extra_{index}", values, f"the data set's own column {name}")
        for spec in COLUMNS:
            self._write_column(spec.name, columns[spec.name].astype(spec.dtype), spec.meaning)
        if confidence is not None:
            meaning = "confidence of each joint as the recording has it, mean over its bodies and frames; NaN unknown"
            self._write_column(CONFIDENCE, confidence.astype(np.float32), meaning)
        form = schemas.STORE
        stored = {"kind": form.kind, "format_version": form.version, "units": "m", "extra": list(extra), **attributes}
        self._group.attrs.put({"skelepipe": stored})
        self._consolidate_metadata()
        self.folder.joinpath(QUARANTINE_FILE).write_bytes(json.dumps(quarantine, indent=1).encode() + b"\n")
        return manifest.write_manifest(self.folder, form, clips=len(texts["name"]))

    def _write_column(self, name: str, values: NDArray[Any], meaning: str) -> None:
        array = self._group.create_array(
            name,
            shape=values.shape,
            dtype="string" if values.dtype.kind == "T" else values.dtype,
            chunks=tuple(max(1, extent) for extent in values.shape),
            compressors=[Crc32cCodec()],
            attributes={"meaning": meaning},
            config={"write_empty_chunks": True},
        )
        array[...] = values

    def _write_text(self, name: str, texts: Sequence[str], meaning: str) -> None:
        self._write_column(name, np.array(texts, np.dtypes.StringDType()), meaning)

    def _consolidate_metadata(self) -> None:
        """Copy the metadata of all arrays into that of the group.

        Readers then list no folder, in which Zarr would warn of files that are not part of the hierarchy, such as the
        manifest.
        """
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Consolidated metadata", ZarrUserWarning)  # not in the specification yet
            zarr.consolidate_metadata(str(self.folder), zarr_format=3)

    def flush(self) -> None:
        """Write the body-frames in the buffer."""
        end = self._written + self._filled
        self._xyz[:, :, self._written : end] = self._buffer[:, :, : self._filled]
        self._written, self._filled = end, 0
