"""The columns of a store, and the chunk and shard sizes of its arrays."""

from dataclasses import dataclass

from pipeline.skeleton.recording import STEP_COUNTS

CHUNK_BODY_FRAMES = 2048
"""Body-frames per chunk: below 1024 the overhead per chunk is measurable, above 2048 single clips are read slower."""
SHARD_BODY_FRAMES = 32 * CHUNK_BODY_FRAMES
BLOCK_BODY_FRAMES = 4 * CHUNK_BODY_FRAMES
"""Body-frames that are read together where the order of clips does not matter: about eighty clips."""
QUARANTINE_FILE = "quarantine.json"


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """One of the small arrays next to `xyz`, with one value per clip."""

    name: str
    dtype: str
    meaning: str


COLUMNS = (
    ArraySpec("frames", "int32", "frames of the clip, T"),
    ArraySpec("bodies", "int32", "bodies of the clip, M"),
    ArraySpec("start", "int32", "first frame of the clip in its recording, from 0, before the recipe trims it"),
    ArraySpec("label", "int32", "class, from 0; -1 unknown"),
    ArraySpec("subject", "int32", "performer as the data set numbers them; -1 unknown"),
    ArraySpec("camera", "int32", "camera; -1 unknown"),
    ArraySpec("setup", "int32", "setup; -1 unknown"),
    ArraySpec("replication", "int32", "replication; -1 unknown"),
    ArraySpec("source_size", "int64", "bytes of the recording's files"),
    ArraySpec("source_crc32", "uint32", "crc32 of the recording's file; of its files' crc32s if several"),
    *(ArraySpec(f"quality_{count}", "int32", meaning) for count, meaning in STEP_COUNTS.items()),
)
CONFIDENCE = "confidence"
"""The optional array of joint confidences, present if any recording has them."""
TEXT_COLUMNS = {
    "name": "name of the clip",
    "recording": "name of the recording that the clip comes from",
}
