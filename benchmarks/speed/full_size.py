"""Ingest as many recordings as NTU RGB+D 120 has: 113,945, as loose files and in two zips.

Run: python -m benchmarks.speed.full_size FOLDER [--workers 2] [--share 1] [--only loose|zips]

The recordings are synthetic: 1,000 different texts (`--texts`) of 260 KB on average with the data set's file names,
as hard links (0.3 GB on disk for 30 GB of text) and as members of two archives (13 GB). FOLDER is kept: a second run
resumes.
"""

import argparse
import json
import os
import platform
import shutil
import sys
import time
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.measure import Watched, watch
from pipeline.sources.ntu.names import NTU60, NTU120, missing_names
from pipeline.synth.synth import write
from trainer.doctor.processor import processor_name

SKELEPIPE = [sys.executable, "-m", "cli"]
ENVIRONMENT = {"PYTHONPATH": str(Path(__file__).parents[2])}
ZIPS = ("nturgbd_skeletons_s001_to_s017.zip", "nturgbd_skeletons_s018_to_s032.zip")


def all_names(share: float) -> list[str]:
    """The names of the recordings that can be used; of a share of the data set, every so many."""
    names = [str(name) for name in NTU120.names() if str(name) not in missing_names()]
    return names[:: round(1 / share)]


def write_loose(folder: Path, texts: Sequence[Path], names: Sequence[str]) -> int:
    """Every name a hard link to one of the texts, in folders of 1,000; bytes of text."""
    size = 0
    for place, name in enumerate(names):
        home = folder / f"{place // 1000:03d}"
        home.mkdir(parents=True, exist_ok=True)
        text = texts[place % len(texts)]
        target = home / f"{name}.skeleton"
        if not target.exists():
            os.link(text, target)
        size += text.stat().st_size
    return size


def write_zips(folder: Path, texts: Sequence[Path], names: Sequence[str]) -> None:
    """The two archives as the data set is shipped; each text is compressed once, which zipfile has no way to say."""
    folder.mkdir(parents=True, exist_ok=True)
    packed = [deflated(text.read_bytes()) for text in texts]
    first = NTU60.setups[-1]
    for target, wanted in zip(ZIPS, (lambda setup: setup <= first, lambda setup: setup > first), strict=True):
        with zipfile.ZipFile(folder / target, "w") as archive:
            handle = archive.fp
            assert handle is not None
            for place, name in enumerate(names):
                if wanted(int(name[1:4])):
                    content, size, crc = packed[place % len(packed)]
                    entry = zipfile.ZipInfo(f"nturgb+d_skeletons/{name}.skeleton")
                    entry.compress_type, entry.CRC = zipfile.ZIP_DEFLATED, crc
                    entry.file_size, entry.compress_size = size, len(content)
                    entry.header_offset = handle.tell()
                    handle.write(entry.FileHeader(zip64=False))
                    handle.write(content)
                    archive.filelist.append(entry)
            archive.start_dir = handle.tell()
            archive._didModify = True  # so that closing writes the directory


def deflated(text: bytes) -> tuple[bytes, int, int]:
    squeeze = zlib.compressobj(6, wbits=-15)
    return squeeze.compress(text) + squeeze.flush(), len(text), zlib.crc32(text)


def run(folder: Path, raw: Path, workers: int) -> Iterator[tuple[str, Watched, dict[str, object]]]:
    """Ingest, ingest again when it is up to date, verify."""
    store = folder / "store.zarr"
    shutil.rmtree(store, ignore_errors=True)
    ingest = [*SKELEPIPE, "ingest", "ntu120", raw, "--out", store, "--workers", workers, "--json"]
    for what, command in (("ingest", ingest), ("again", ingest), ("verify", [*SKELEPIPE, "verify", store, "--json"])):
        done = watch(list(map(str, command)), ENVIRONMENT)
        yield what, done, json.loads(done.output)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("folder", type=Path)
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--share", type=float, default=1, help="of the data set")
    options.add_argument("--texts", type=int, default=1_000, help="different ones")
    options.add_argument("--only", choices=["loose", "zips"])
    given = options.parse_args()
    texts = given.folder / "texts"
    if not texts.exists():
        write("ntu120", texts, clips=given.texts, seed=0)
    sources, names = sorted(texts.glob("*.skeleton")), all_names(given.share)
    size = write_loose(given.folder / "loose", sources, names)
    kinds = [given.only] if given.only else ["loose", "zips"]
    if "zips" in kinds and not (given.folder / "zips").exists():
        write_zips(given.folder / "zips", sources, names)

    print(f"{processor_name()}, {os.cpu_count()} cores, Python {platform.python_version()}, {given.workers} workers")
    print(f"{len(names):,} recordings, {size / 1e9:.2f} GB of text; {time.strftime('%Y-%m-%d')}\n")
    print("| | seconds | MB/s of text | peak memory of all processes, MB | store, MB |")
    print("|---|---|---|---|---|")
    for kind in kinds:
        for what, done, found in run(given.folder, given.folder / kind, given.workers):
            size_now = sum(path.stat().st_size for path in (given.folder / "store.zarr").rglob("*") if path.is_file())
            speed = size / done.seconds / 1e6 if what != "verify" else size_now / done.seconds / 1e6
            row = [f"{kind}: {what}", f"{done.seconds:.1f}", f"{speed:,.0f}", f"{done.peak / 1e6:,.0f}"]
            print("|", " | ".join([*row, f"{size_now / 1e6:,.0f}"]), "|", flush=True)
            if what == "ingest" and (found["clips"], found["quarantined"]) != (len(names), []):
                raise SystemExit(f"{found['clips']} clips of {len(names)}")
            if what == "verify" and found["findings"]:
                raise SystemExit(f"verify found {found['findings']}")


if __name__ == "__main__":
    main()
