"""What each choice in `ingest` costs and saves: codec, chunk, shard, order of the axes, threads, fsync, checksums.

Run: python benchmarks/bench_choices.py [--clips 2000] [--rounds 5]. Prints the tables of benchmarks/NOTES.md. Synthetic
recordings, warm page cache, rounds interleaved, medians; every variant gives back the very values it was given.
"""

import argparse
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import zarr
from full_size import write_zips
from isal import isal_zlib
from zarr.codecs import BloscCodec, Crc32cCodec

from pipeline.files.safe_zip import Archive
from pipeline.ingest import process_pool
from pipeline.ingest.ingest import ingest
from pipeline.ingest.partitions import partition_path, process_partition, split_into_partitions
from pipeline.ingest.request import IngestRequest
from pipeline.recipes.recipe import load_recipe
from pipeline.sources import text_kernels
from pipeline.sources.ntu.parser import parse
from pipeline.sources.registry import open_source
from pipeline.sources.text_buffer import PADDING
from pipeline.store.columns import CHUNK, SHARD
from pipeline.store.store import Store
from pipeline.synth.synth import write
from trainer.doctor.processor import processor_name

KEPT = BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle", typesize=4)


def interleaved(rounds: int, contenders: Mapping[str, Callable[[], float]]) -> dict[str, float]:
    """The median of what each gives, after one round that does not count."""
    found: dict[str, list[float]] = {label: [] for label in contenders}
    for _ in range(rounds + 1):
        for label, work in contenders.items():
            found[label].append(work())
    return {label: statistics.median(values[1:]) for label, values in found.items()}


def seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    print(f"\n### {title}\n\n| | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")


class Layout:
    """One way of laying the body-frames down, written and read as the store does it: by shards, and clip by clip."""

    def __init__(
        self, folder: Path, motion: np.ndarray, rows: np.ndarray, codec: Any, chunk: int, shard: int, axis: int
    ):
        self.folder, self.motion, self.rows, self.axis = folder, motion, rows, axis
        self.shape, self.inner, self.outer = motion.shape, list(motion.shape), list(motion.shape)
        self.inner[axis], self.outer[axis] = chunk, shard
        self.codecs = [*([codec] if codec else []), Crc32cCodec()]
        self.shard = shard

    def part(self, first: int, last: int) -> tuple[slice, ...]:
        where = [slice(None)] * 3
        where[self.axis] = slice(first, last)
        return tuple(where)

    def write(self) -> float:
        shutil.rmtree(self.folder, ignore_errors=True)
        start = time.perf_counter()
        group = zarr.create_group(store=str(self.folder), zarr_format=3)
        array = group.create_array(
            "xyz",
            shape=self.shape,
            dtype="float32",
            chunks=tuple(self.inner),
            shards=tuple(self.outer),
            compressors=self.codecs,
            config={"write_empty_chunks": True},
        )
        for first in range(0, self.shape[self.axis], self.shard):
            array[self.part(first, first + self.shard)] = self.motion[self.part(first, first + self.shard)]
        return time.perf_counter() - start

    def read(self) -> float:
        array = zarr.open_group(str(self.folder), mode="r")["xyz"]
        start = time.perf_counter()
        for first in range(0, self.shape[self.axis], self.shard):
            np.testing.assert_array_equal(
                array[self.part(first, first + self.shard)], self.motion[self.part(first, first + self.shard)]
            )
        return time.perf_counter() - start

    def one_clip(self) -> float:
        array = zarr.open_group(str(self.folder), mode="r")["xyz"]
        return statistics.median(seconds(lambda row=row: array[self.part(row, row + 80)]) for row in self.rows)

    def bytes(self) -> int:
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())


def layouts(folder: Path, store: Store, rounds: int) -> None:
    """Codecs, chunks, shards and orders, on the motion of a store."""
    shards = max(1, min(4, int(store.offset[-1]) // SHARD))
    motion = np.concatenate([clip.reshape(-1, *clip.shape[2:]) for clip in store.clips()])[: shards * SHARD]
    rows = np.random.default_rng(0).integers(0, len(motion) - 80, 40)
    fastest = np.ascontiguousarray(motion.transpose(2, 1, 0))
    make = partial(Layout, motion=fastest, rows=rows, codec=KEPT, chunk=CHUNK, shard=SHARD, axis=2)
    kept = f"zstd 3 bitshuffle, chunk {CHUNK}, shard {SHARD // CHUNK} chunks, time fastest (the store's)"
    blosc = partial(BloscCodec, typesize=4)
    variants = {
        kept: make(folder / "kept"),
        "no compression": make(folder / "plain", codec=None),
        "lz4 5 bitshuffle": make(folder / "lz4", codec=blosc(cname="lz4", clevel=5, shuffle="bitshuffle")),
        "zstd 1 bitshuffle": make(folder / "zstd1", codec=blosc(cname="zstd", clevel=1, shuffle="bitshuffle")),
        "zstd 3 shuffle": make(folder / "shuffle", codec=blosc(cname="zstd", clevel=3, shuffle="shuffle")),
        "zstd 9 bitshuffle": make(folder / "zstd9", codec=blosc(cname="zstd", clevel=9, shuffle="bitshuffle")),
        "chunk 512": make(folder / "c512", chunk=512),
        "chunk 1024": make(folder / "c1024", chunk=1024),
        "chunk 8192": make(folder / "c8192", chunk=8192),
        "shard of 4 chunks": make(folder / "s4", shard=4 * CHUNK),
        "shard of 8 chunks": make(folder / "s8", shard=8 * CHUNK),
        "joints fastest (F, V, C)": Layout(folder / "fvc", motion, rows, KEPT, CHUNK, SHARD, 0),
    }
    size = fastest.nbytes
    writes = interleaved(rounds, {label: variant.write for label, variant in variants.items()})
    reads = interleaved(rounds, {label: variant.read for label, variant in variants.items()})
    clips = interleaved(rounds, {label: variant.one_clip for label, variant in variants.items()})
    table(
        f"The store's layout: {size / 1e6:.0f} MB of float32 by `clean`",
        ["write MB/s", "read and compare MB/s", "one clip of 80 frames, ms", "smaller by"],
        [
            [
                label,
                f"{size / writes[label] / 1e6:,.0f}",
                f"{size / reads[label] / 1e6:,.0f}",
                f"{clips[label] * 1e3:.2f}",
                f"{size / variant.bytes():.2f}x",
            ]
            for label, variant in variants.items()
        ],
    )


def company(folder: Path, raw: Path, rounds: int) -> None:
    """Threads and processes over the same partitions, and what syncing costs."""
    clean, work = load_recipe("clean"), folder / "work"
    entries = open_source("ntu60", [raw]).survey(keep_missing=False).entries
    size = sum(entry.size for entry in entries)
    members = split_into_partitions(entries)
    work.mkdir()

    def threads(count: int) -> float:
        def run(numbers: Sequence[int]) -> None:
            data = open_source("ntu60", [raw])
            for number in numbers:
                process_partition(partition_path(work, number), members[number], data, clean)

        with ThreadPoolExecutor(count) as pool:
            return seconds(lambda: list(pool.map(run, [list(members)[place::count] for place in range(count)])))

    def processes(count: int) -> float:
        open_data = partial(open_source, "ntu60", [raw])
        return seconds(lambda: list(process_pool.process_partitions(work, members, open_data, clean, count)))

    def unsynced() -> float:
        kept, os.fsync = os.fsync, lambda handle: None
        try:
            return whole()
        finally:
            os.fsync = kept

    def whole() -> float:
        request = IngestRequest(
            dataset="ntu60", roots=(raw,), output=folder / "s.zarr", recipe=clean, workers=1, force=True
        )
        return ingest(request).seconds

    found = interleaved(
        rounds,
        {
            "partitions, this process": lambda: threads(1),
            "partitions, 2 threads": lambda: threads(2),
            "partitions, 2 processes, their start included": lambda: processes(2),
            "whole ingest, 1 process": whole,
            "the same, nothing synced": unsynced,
        },
    )
    base = found["partitions, this process"]
    rows = [[label, f"{size / took / 1e6:,.0f}", f"{base / took:.2f}x"] for label, took in found.items()]
    table(f"Threads, processes, fsync: {size / 1e6:.0f} MB of text, `clean`", ["MB/s of text", "to this process"], rows)


SOUND_ROWS = "    while joint < joints:\n        start = at\n"


def parser(raw: Path, rounds: int) -> None:
    """The parser without its trick: the same source with its fast way through plain rows cut out."""
    source = Path(text_kernels.__file__).read_text().replace("cache=True", "cache=False")
    careful = source.replace(SOUND_ROWS, SOUND_ROWS.replace("joint < joints", "joint < 0"))
    if careful == source:
        raise SystemExit("the parser's source has changed: this benchmark no longer finds what it cuts out")
    texts = [np.frombuffer(path.read_bytes() + bytes(PADDING), np.uint8).copy() for path in sorted(raw.iterdir())[:200]]
    size = sum(map(len, texts)) - len(texts) * PADDING

    def contender(code: str) -> Callable[[], float]:
        module = ModuleType("variant")
        exec(code, module.__dict__)  # this very source, with a line cut out  # nosec B102

        def work() -> None:
            text_kernels.walk, kept = module.walk, text_kernels.walk
            for text in texts:
                parse(text, len(text) - PADDING, source="", name="")
            text_kernels.walk = kept

        return partial(seconds, work)

    contenders = {
        "as it is: sound rows by marks": contender(source),
        "every row with care (as rows with exponents are read)": contender(careful),
    }
    found = interleaved(rounds, contenders)
    base = next(iter(found.values()))
    rows = [[label, f"{size / took / 1e6:,.0f}", f"{base / took:.2f}x"] for label, took in found.items()]
    table(f"The parser: {size / 1e6:.0f} MB of text in memory, one thread", ["MB/s", "to the first"], rows)


def bytes_of_zips(folder: Path, raw: Path, rounds: int) -> None:
    """zlib against ISA-L."""
    texts = sorted(raw.rglob("*.skeleton"))[:200]
    contents = [path.read_bytes() for path in texts]
    packed = [zlib.compress(content, 6, wbits=-15) for content in contents]
    size = sum(map(len, contents))
    write_zips(folder / "zips", texts, [path.stem for path in texts])
    archives = [zipfile.ZipFile(path) for path in sorted((folder / "zips").iterdir())]
    checked = [Archive(path) for path in sorted((folder / "zips").iterdir())]
    contenders: dict[str, Callable[[], Any]] = {
        "crc32: zlib": lambda: list(map(zlib.crc32, contents)),
        "crc32: ISA-L (used)": lambda: list(map(isal_zlib.crc32, contents)),
        "inflate: zipfile, zlib": lambda: [archive.read(name) for archive in archives for name in archive.namelist()],
        "inflate: zlib, whole": lambda: [
            zlib.decompress(content, -15, len(text)) for content, text in zip(packed, contents, strict=True)
        ],
        "inflate: ISA-L, whole": lambda: [
            isal_zlib.decompress(content, -15, len(text)) for content, text in zip(packed, contents, strict=True)
        ],
        "inflate: ISA-L, 128 kB at a time, all checked (used)": lambda: [
            archive.unpacked(name) for archive in checked for name in archive.members
        ],
    }
    found = interleaved(rounds, {label: partial(seconds, work) for label, work in contenders.items()})
    rows = [[label, f"{size / took / 1e6:,.0f}"] for label, took in found.items()]
    table(f"Checksums and zips: {size / 1e6:.0f} MB of text, one thread", ["MB/s of text"], rows)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--clips", type=int, default=2_000)
    options.add_argument("--rounds", type=int, default=5)
    given = options.parse_args()
    print(
        f"{processor_name()}, {os.cpu_count()} cores, Python {platform.python_version()}, zarr {zarr.__version__}, ",
        end="",
    )
    print(f"{time.strftime('%Y-%m-%d')}, {given.rounds} interleaved rounds")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write("ntu60", folder / "raw", clips=given.clips, seed=0)
        company(folder, folder / "raw", given.rounds)
        parser(folder / "raw", given.rounds)
        bytes_of_zips(folder, folder / "raw", given.rounds)
        layouts(folder, Store(folder / "s.zarr"), given.rounds)


if __name__ == "__main__":
    main()
