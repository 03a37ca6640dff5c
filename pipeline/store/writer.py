"""A store filled clip by clip, by whoever makes one; what stands beside the motion, and the seal, come last."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, Crc32cCodec

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
    """Fills a new store clip by clip, in the order of its rows, with one shard in memory."""

    def __init__(self, folder: Path, joints: int, rows: int) -> None:
        """Start a store.

        Args:
            folder: where; must not exist.
            joints: V of the layout.
            rows: body-frames of all clips together, F.
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
        self._waiting = np.empty((3, joints, min(SHARD_BODY_FRAMES, rows)), np.float32)
        self._filled = 0

    def append(self, rows: NDArray[np.float32]) -> None:
        """Add the next body-frames, (F', V, 3) in metres."""
        while len(rows):
            taken = min(len(rows), self._waiting.shape[2] - self._filled)
            self._waiting[:, :, self._filled : self._filled + taken] = rows[:taken].transpose(2, 1, 0)
            self._filled += taken
            rows = rows[taken:]
            if self._filled == self._waiting.shape[2]:
                self.flush()

    def finish(
        self,
        texts: Mapping[str, Sequence[str]],
        extra: Mapping[str, Sequence[str]],
        columns: Mapping[str, NDArray[Any]],
        facts: Mapping[str, Any],
        quarantine: list[Any],
        confidence: NDArray[np.float32] | None = None,
    ) -> str:
        """Write what stands beside the motion, and the manifest last.

        Args:
            texts: N texts for each of TEXTS, in row order.
            extra: N texts for each of the data set's own columns.
            columns: one array of N values for every `COLUMNS` entry.
            facts: what the store is (data set, layout, recipe, sources, ...): its attributes.
            quarantine: the recordings that could not be used.
            confidence: (N, V) how sure of each joint each clip's recording is on average; None when none says.

        Returns:
            The store's digest.
        """
        self.flush()
        if self._written != self._rows:
            raise ValueError(f"{self._written} of {self._rows} body-frames were written")
        lengths = columns["frames"].astype(np.int64) * columns["bodies"]
        self._column("offset", np.concatenate([[0], np.cumsum(lengths)]), "first column of clip n in xyz")
        for name, meaning in TEXT_COLUMNS.items():
            self._text(name, texts[name], meaning)
        for place, (name, values) in enumerate(extra.items()):
            self._text(f"extra_{place}", values, f"the data set's own column {name}")
        for spec in COLUMNS:
            self._column(spec.name, columns[spec.name].astype(spec.dtype), spec.meaning)
        if confidence is not None:
            meaning = "confidence of each joint as the recording has it, mean over its bodies and frames; NaN unknown"
            self._column(CONFIDENCE, confidence.astype(np.float32), meaning)
        form = schemas.STORE
        about = {"kind": form.kind, "format_version": form.version, "units": "m", "extra": list(extra), **facts}
        self._group.attrs.put({"skelepipe": about})
        self.folder.joinpath(QUARANTINE_FILE).write_bytes(json.dumps(quarantine, indent=1).encode() + b"\n")
        return manifest.write_manifest(self.folder, form, clips=len(texts["name"]))

    def _column(self, name: str, values: NDArray[Any], meaning: str) -> None:
        array = self._group.create_array(
            name,
            shape=values.shape,
            dtype=values.dtype,
            chunks=tuple(max(1, extent) for extent in values.shape),
            compressors=[Crc32cCodec()],
            attributes={"meaning": meaning},
            config={"write_empty_chunks": True},
        )
        array[...] = values

    def _text(self, name: str, texts: Sequence[str], meaning: str) -> None:
        encoded = [text.encode() for text in texts]
        width = max(1, *map(len, encoded)) if encoded else 1
        rows = np.frombuffer(b"".join(text.ljust(width, b"\0") for text in encoded), np.uint8)
        self._column(name, rows.reshape(len(encoded), width), meaning)

    def flush(self) -> None:
        """Write what waits for its shard to fill."""
        end = self._written + self._filled
        self._xyz[:, :, self._written : end] = self._waiting[:, :, : self._filled]
        self._written, self._filled = end, 0
