import struct
import tracemalloc
from pathlib import Path

import google_crc32c
import numpy as np
import pytest

from pipeline.store import shards, store
from pipeline.store.columns import CHUNK_BODY_FRAMES, SHARD_BODY_FRAMES
from pipeline.store.writer import StoreWriter

JOINTS = 2


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """Two shards' files, the second of which ends within its second chunk, and what is in them, (C, V, F)."""
    folder = tmp_path_factory.mktemp("shards") / "s.zarr"
    rows = SHARD_BODY_FRAMES + CHUNK_BODY_FRAMES + 5
    xyz = np.random.default_rng(0).normal(size=(3, JOINTS, rows)).astype(np.float32)
    xyz[:, 0, ::7] = np.nan
    writer = StoreWriter(folder, JOINTS, rows)
    writer.append(xyz.transpose(2, 1, 0))
    writer.flush()
    return folder / "xyz" / "c" / "0" / "0", xyz


def read(path: Path, first: int, last: int) -> np.ndarray:
    out = np.zeros((3, JOINTS, last - first), np.float32)
    shards.read_columns(
        path, path.stat().st_size, SHARD_BODY_FRAMES // CHUNK_BODY_FRAMES, out, CHUNK_BODY_FRAMES, first
    )
    return out


@pytest.mark.parametrize(
    ("shard", "first", "last"),
    [
        *[
            (0, 0, 1),
            (0, 0, SHARD_BODY_FRAMES),
            (0, CHUNK_BODY_FRAMES - 1, CHUNK_BODY_FRAMES + 1),
            (0, CHUNK_BODY_FRAMES, 2 * CHUNK_BODY_FRAMES),
            (0, SHARD_BODY_FRAMES - 3, SHARD_BODY_FRAMES),
        ],
        *[(0, 5000, 15000), (1, 0, CHUNK_BODY_FRAMES + 5), (1, CHUNK_BODY_FRAMES, CHUNK_BODY_FRAMES + 5), (1, 3, 4)],
    ],
)
def test_any_columns_of_a_shard_are_what_was_written(
    written: tuple[Path, np.ndarray], shard: int, first: int, last: int
) -> None:
    folder, xyz = written
    start = shard * SHARD_BODY_FRAMES
    np.testing.assert_array_equal(read(folder / str(shard), first, last), xyz[:, :, start + first : start + last])


def test_every_flipped_bit_of_what_is_read_is_found(written: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    whole = (written[0] / "1").read_bytes()
    chance = np.random.default_rng(1)
    places = np.concatenate([chance.integers(0, len(whole), 60), len(whole) - 1 - chance.integers(0, 516, 20)])
    for place in places:
        harmed = bytearray(whole)
        harmed[place] ^= 1 << int(chance.integers(8))
        (tmp_path / "1").write_bytes(harmed)
        with pytest.raises(ValueError, match=r"the checksum of (the index|chunk [01]) does not match"):
            read(tmp_path / "1", 0, CHUNK_BODY_FRAMES + 5)


def test_all_of_a_store_is_what_zarr_reads(shared_store: store.Store) -> None:
    total = int(shared_store.offset[-1])
    clips = np.concatenate([clip.reshape(-1, *clip.shape[2:]) for clip in shared_store.clips()])
    np.testing.assert_array_equal(shared_store.motion(0, total), clips.transpose(2, 1, 0))
    np.testing.assert_array_equal(shared_store.motion(1000, 3000), clips[1000:3000].transpose(2, 1, 0))


def forged(whole: bytes, offset: int, length: int) -> bytes:
    """A shard whose index says of the first chunk what is asked for, and checks."""
    index = struct.pack("<QQ", offset, length) + whole[-INDEX + 16 : -4]
    return whole[:-INDEX] + index + struct.pack("<I", google_crc32c.value(index))


INDEX = 16 * (SHARD_BODY_FRAMES // CHUNK_BODY_FRAMES) + 4


@pytest.mark.parametrize(("offset", "length"), [
    (0, 2**40), (0, 2**62), (0, 2**64 - 1), (2**64 - 1, 2**64 - 1), (2**63, 8), (2**62, 0), (0, 10**9),
])  # fmt: skip
def test_a_chunk_that_is_said_to_lie_outside_is_refused(
    written: tuple[Path, np.ndarray], tmp_path: Path, offset: int, length: int
) -> None:
    (tmp_path / "1").write_bytes(forged((written[0] / "1").read_bytes(), offset, length))
    with pytest.raises(ValueError, match=r"chunk 0 ends at byte \d+ of \d+"):
        read(tmp_path / "1", 0, 5)


@pytest.mark.parametrize("claimed", [0, 1, 2**31 - 1, 2**31, 2**32 - 1])
def test_a_chunk_that_claims_another_size_is_refused_before_memory_is_taken(
    written: tuple[Path, np.ndarray], tmp_path: Path, claimed: int
) -> None:
    whole = (written[0] / "1").read_bytes()
    offset, length = struct.unpack_from("<QQ", whole, len(whole) - INDEX)
    chunk = bytearray(whole[offset : offset + length - 4])
    struct.pack_into("<I", chunk, 4, claimed)
    check = struct.pack("<I", google_crc32c.value(bytes(chunk)))
    (tmp_path / "1").write_bytes(whole[:offset] + chunk + check + whole[offset + length :])
    tracemalloc.start()
    with pytest.raises(
        ValueError, match=f"chunk 0 claims to hold {claimed} bytes, expected {3 * JOINTS * CHUNK_BODY_FRAMES * 4}"
    ):
        read(tmp_path / "1", 0, 5)
    assert tracemalloc.get_traced_memory()[1] < 1 << 22
    tracemalloc.stop()
