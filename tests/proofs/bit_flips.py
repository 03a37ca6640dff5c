"""Damage every artifact and check that reading it or `verify` reports the damage.

Bits are flipped; files are removed, emptied, truncated, swapped, replaced by older ones, and added. Data that is read
in spite of the damage must equal the data that was written. Stores are made with small shards, so that each has
several. Stores that are already open are damaged as well; such a flip keeps the file's modification time. A run whose
newest checkpoint is damaged must continue from the older one. Prints a table; exits 1 when anything fails.
"""

import argparse
import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.errors import ArtifactError, SkelepipeError
from pipeline.store import columns, writer
from pipeline.store import store as store_module
from pipeline.store.splits import find_split, load_split, load_subset, load_subsets
from pipeline.store.store import Store
from pipeline.store.verify import verify
from tests.proofs import fault_cases, faults
from tests.proofs.fault_cases import EVALUATE, FRACTIONS, RUN, TRAINED, Case, World
from tests.support.result_files import result_file
from trainer.runs import checkpoint
from trainer.runs.classifier import load_classifier
from trainer.runs.run import load_encoder, load_run, newest_checkpoint

HEADS = ("damaged", "verify found", "read refused", "read intact", "BAD")
SMALL_CHUNK, CHUNKS = 64, 4
"""Body frames per chunk and chunks per shard, instead of 2,048 and 32."""
HARMS = ("lost", "empty", "cut", "exchanged", "stale", "added")


def small_shards() -> None:
    """Use small shards, so that a store of some thousand body frames has several."""
    for module in (columns, store_module, writer):
        module.CHUNK_BODY_FRAMES, module.SHARD_BODY_FRAMES = SMALL_CHUNK, SMALL_CHUNK * CHUNKS  # type: ignore[attr-defined]
    store_module.READ_BODY_FRAMES = SMALL_CHUNK * CHUNKS


def told(store: Store) -> list[bytes]:
    """Read everything that a store contains."""
    rows = np.arange(len(store))
    clips = [clip.tobytes() for clip in store.clips()] + [store.clip(row).tobytes() for row in rows[::5]]
    columns = [store.columns[name].tobytes() for name in sorted(store.columns)]
    texts = repr((store.names, store.recordings, store.attributes, store.quarantine, store.layout, store.digest))
    return [*clips, store.motion(0, int(store.offset[-1])).tobytes(), *columns, store.offset.tobytes(), texts.encode()]


class Flips:
    """Damage the artifacts of one folder and count how often the damage is reported."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.folder, self.chance = folder, chance
        self.found: dict[str, Counter[str]] = {}
        self.store = folder / "processed" / "s.zarr"

    def count(self, what: str, where: str, *, said: bool, refused: bool, right: bool) -> None:
        """Count one damage: whether `verify` reported it, and whether reading failed or returned intact data."""
        found = self.found.setdefault(what, Counter())
        found["damaged"] += 1
        found["verify found"] += said
        found["read refused"] += refused
        found["read intact"] += not refused and right
        if not said or not (refused or right):
            found["BAD"] += 1
            print(
                f"{what}: {where}: verify {'found it' if said else 'MISSED IT'}; read {'right' if right else 'WRONG'}"
            )

    def look(self, what: str, where: str, artifact: Path, read: Callable[[], Any], wanted: Any) -> None:
        """Run `verify` on a damaged artifact and read it."""
        try:
            said = bool(verify(artifact).findings)
        except SkelepipeError:  # damaged so badly that the kind of artifact is unknown
            said = True
        try:
            right, refused = read() == wanted, False
        except SkelepipeError:
            right, refused = False, True
        self.count(what, where, said=said, refused=refused, right=right)

    def bits(self, what: str, files: list[Path], artifact: Path, read: Callable[[], Any], count: int) -> None:
        """Flip `count` bits in some files, one at a time."""
        wanted = read()
        for _ in range(count):
            path = self.chance.choice(files)
            with flipped(path, self.chance) as where:
                self.look(what, where, artifact, read, wanted)

    def open_store(self, count: int) -> None:
        """Flip bits of shards of an open store whose shards have all been read. File times are restored."""
        store = Store(self.store)
        wanted = told(store)
        for _ in range(count):
            path = self.chance.choice(self.shards())
            status = path.stat()
            with flipped(path, self.chance) as where:
                os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
                self.look("store, already open", where, self.store, lambda: told(store), wanted)
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    def shards(self) -> list[Path]:
        return sorted((self.store / "xyz" / "c" / "0" / "0").iterdir())

    def index(self, count: int) -> None:
        """Flip bits of the shard indices only."""
        wanted, size = told(Store(self.store)), 16 * CHUNKS + 4
        for _ in range(count):
            path = self.chance.choice(self.shards())
            with flipped(path, self.chance, last=size) as where:
                self.look("store, index", where, self.store, lambda: told(Store(self.store)), wanted)

    def files(self, what: str, artifact: Path, stale: Path, read: Callable[[], Any]) -> None:
        """Damage each file of an artifact in each way."""
        wanted, paths = read(), sorted(path for path in artifact.rglob("*") if path.is_file())
        for path in paths:
            whole = path.read_bytes()
            others = [other for other in paths if other.read_bytes() != whole]
            alike = [other for other in others if other.parent == path.parent] or others
            for harm in HARMS:
                other = self.chance.choice(alike)
                theirs = other.read_bytes()
                beside = path.with_name("one-more")
                if harm == "lost":
                    path.unlink()
                elif harm in {"empty", "cut"}:
                    path.write_bytes(whole[: len(whole) // 2] if harm == "cut" else b"")
                elif harm == "exchanged":
                    path.write_bytes(theirs)
                    other.write_bytes(whole)
                elif harm == "stale":
                    old = stale / path.relative_to(artifact)
                    if not old.is_file() or old.read_bytes() == whole:
                        continue
                    path.write_bytes(old.read_bytes())
                else:
                    beside.write_bytes(whole)
                self.look(f"{what}, a file {harm}", str(path), artifact, read, wanted)
                beside.unlink(missing_ok=True)
                path.write_bytes(whole)
                other.write_bytes(theirs)


@contextmanager
def flipped(path: Path, chance: random.Random, last: int | None = None) -> Iterator[str]:
    """Flip one bit of a file (of its last `last` bytes, if given) inside the block; yield a description."""
    whole = path.read_bytes()
    position = chance.randrange(len(whole) - (last or len(whole)), len(whole))
    bit = chance.randrange(8)
    path.write_bytes(whole[:position] + bytes([whole[position] ^ 1 << bit]) + whole[position + 1 :])
    try:
        yield f"{path}, bit {bit} of byte {position}"
    finally:
        path.write_bytes(whole)


def prove(flips: Flips, stale: Path, count: int) -> None:
    """Damage all artifacts: about two fifths of the `count` flips in the store's data, the rest elsewhere."""
    store, run = flips.store, flips.folder / RUN

    def read_store() -> list[bytes]:
        return told(Store(store))

    small = [path for path in store.rglob("*") if path.is_file() and "xyz/c" not in path.as_posix()]
    flips.bits("store, data", flips.shards(), store, read_store, count // 4)
    flips.open_store(count // 8)
    flips.index(count // 8)
    flips.bits("store, small arrays", [path for path in small if "c" in path.parts[-3:]], store, read_store, count // 8)
    flips.bits("store, metadata", [path for path in small if path.suffix == ".json"], store, read_store, count // 8)
    flips.files("store", store, stale / "processed" / "s.zarr", read_store)
    opened = Store(store)
    split = find_split(opened, "xsub")
    drawn = load_subsets(opened, split, 0.5)[0]
    for what, path, read in (
        ("split", split.path, lambda: repr(load_split(split.path, opened))),
        ("subset", drawn.path, lambda: repr(load_subset(drawn.path, split))),
        ("run.json", run / "run.json", lambda: repr(load_run(run))),
    ):
        flips.bits(what, [path], path, read, count // 16)
    loaded = load_run(run)
    newest, before = (path for path in reversed(checkpoint.list_checkpoints(loaded.checkpoints)))

    def read_checkpoint() -> list[bytes]:
        if newest_checkpoint(loaded)[0] == before:
            raise ArtifactError("training resumes from the previous checkpoint")
        encoder, facts = load_encoder(loaded, torch.device("cpu"))
        return [value.numpy().tobytes() for value in encoder.state_dict().values()] + [repr(facts).encode()]

    def read_classifier() -> list[bytes]:
        found = load_classifier(loaded, "linear", torch.device("cpu"))
        state = [value.numpy().tobytes() for value in found.encoder.state_dict().values()]
        return [*state, found.weight.numpy().tobytes(), found.bias.numpy().tobytes(), repr(found.facts).encode()]

    kept = result_file(run, "linear.classifier")
    for what, folder, read_folder in (
        ("checkpoint", newest, read_checkpoint),
        ("classifier", kept, read_classifier),
    ):
        files = [path for path in folder.iterdir() if path.is_file()]
        flips.bits(what, files, folder, read_folder, count // 16)
        flips.files(what, folder, stale / folder.relative_to(flips.folder), read_folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=3200, help="approximate number of bit flips")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    small_shards()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=faults.MEMORY) as place:
        world = World(Path(place))
        commands = (*TRAINED, EVALUATE, FRACTIONS)
        folder = world.fresh(Case("all", [], [], commands), "damaged")
        stale = world.fresh(Case("all", [], [], commands), "stale")
        faults.quiet(
            ("ingest ntu60 raw --recipe none --out processed/s.zarr --force", "build-splits processed/s.zarr"), stale
        )
        faults.quiet((f"{fault_cases.TRAIN} seed=5 --force", EVALUATE), stale)
        flips = Flips(folder, random.Random(asked.seed))
        prove(flips, stale, asked.flips)
    print(f"{'what':34}" + "".join(f"{head:>17}" for head in HEADS))
    total = Counter[str]()
    for what, found in flips.found.items():
        print(f"{what:34}" + "".join(f"{found[head]:17,}" for head in HEADS))
        total += found
    print(f"{'all':34}" + "".join(f"{total[head]:17,}" for head in HEADS))
    return 1 if total["BAD"] else 0


if __name__ == "__main__":
    sys.exit(main())
