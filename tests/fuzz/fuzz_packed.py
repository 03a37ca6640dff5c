"""Fuzz targets: files with checksums or headers (zips, tensors, arrays)."""

import io
import json
import os
import random
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from pipeline.errors import ArtifactError, SkelepipeError
from pipeline.files import raw_files
from pipeline.files.safe_zip import Archive
from pipeline.ingest.partitions import read_partition, read_partition_motion
from pipeline.store.columns import COLUMNS
from tests.fuzz import damage
from tests.fuzz.fuzz_judging import Judge, Outcome, Target, Wrong, ask, same, written
from tests.pipeline.artifacts import test_format_versions as versions
from tests.pipeline.files import test_safe_zip
from tests.support import reference, released_checkpoints
from trainer.inference import embed
from trainer.runs.imported.released_weights import RELEASED_CODES, read_released, streams_in
from trainer.runs.imported.torch_file import read_torch_file
from trainer.runs.safetensors_file import read_tensors


def change_member(content: bytes, chance: random.Random, others: Sequence[bytes]) -> bytes:
    """Damage a member of a zip and write the zip again, so that its checksums are correct."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    except Exception:  # already damaged, in whatever way
        return content
    if not members:
        return content
    # In files of torch, a small pickle describes the rest.
    name = next((name for name in members if name.endswith("data.pkl") and chance.random() < 0.6), None)
    name = name or chance.choice(list(members))
    members[name] = chance.choice((*damage.BYTES, damage.change_npy_header))(members[name], chance, others)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for member, inner in members.items():
            archive.writestr(member, inner)
    return buffer.getvalue()


PACKED: tuple[damage.Way, ...] = (*(change_member,) * 8, *damage.NPZ)


def zips(folder: Path) -> tuple[Sequence[bytes], Judge]:
    """Archives of recordings. Extracted members must match their recorded checksums."""
    path, text = folder / "raw.zip", test_safe_zip.recording(1)[:900]
    member = test_safe_zip.member
    seeds = [
        test_safe_zip.archive(*test_safe_zip.good(text)),
        test_safe_zip.archive(*(member(f"{n}.skeleton", text[n:], method=n) for n in (0, 8, 12))),
        test_safe_zip.archive(member(f"a/{'é' * 3}.skeleton", text), member("b/", b""), begin=b"behind something"),
    ]

    def judge(content: bytes) -> Outcome:
        path.write_bytes(content)
        os.utime(path, ns=(0, zlib.crc32(content)))  # a file of the same size must not look unchanged
        raw_files._archive.cache_clear()
        found = ask(lambda: raw_files.find([path]), str(path))
        if isinstance(found, SkelepipeError):
            return Outcome(True)
        refused = 0
        for file in found.files:
            bytes_of = ask(lambda file=file: raw_files.read(file), str(path))
            refused += isinstance(bytes_of, SkelepipeError)
            if isinstance(bytes_of, bytes) and zlib.crc32(bytes_of) != Archive(path).members[file.member].CRC:
                raise Wrong(f"{file}: the bytes do not match the checksum in the archive")
        return Outcome(refused == len(found.files))

    return seeds, judge


def safetensors(folder: Path) -> tuple[Sequence[bytes], Judge]:
    path = folder / "x.safetensors"
    seeds = [
        save({"a": torch.arange(6.0).reshape(2, 3), "b": torch.arange(4), "c": torch.zeros(0, 3)}),
        save({"weight": torch.ones(2, 2, dtype=torch.bfloat16), "on": torch.tensor([True, False])}, {"format": "pt"}),
        save({"scalar": torch.tensor(1.5, dtype=torch.float64)}),
    ]

    def judge(content: bytes) -> Outcome:
        path.write_bytes(content)
        found = ask(lambda: read_tensors(path), str(path))
        if isinstance(found, SkelepipeError):
            return Outcome(True)
        wanted = reference.read_safetensors(content)
        same(found.keys(), wanted.keys())
        for name, tensor in found.items():
            same(
                (tuple(tensor.shape), tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()),
                wanted[name][1:],
            )
        return Outcome(False, True)

    return seeds, judge


def torch_files(folder: Path) -> tuple[Sequence[bytes], Judge]:
    """Whole and small checkpoints of other code bases in both formats. The old format contains memory addresses."""
    path = folder / "x.pt"
    source = RELEASED_CODES["skelemixclr"]
    state = released_checkpoints.Checkpoint("skelemixclr", channels=1, hidden=4, feature=2, queue=4).state
    few = {name: state[name] for name in list(state)[:9]}
    seeds = [
        *(
            written(lambda made, new=new: torch.save(few, made, _use_new_zipfile_serialization=new))
            for new in (True, False)
        ),
        *(
            written(
                lambda made, new=new: torch.save(
                    {"state_dict": few, "epoch": 3}, made, _use_new_zipfile_serialization=new
                )
            )
            for new in (True, False)
        ),
        written(lambda made: torch.save(state, made)),
    ]

    def read() -> None:
        file = read_torch_file(path)
        try:
            for stream, keys in streams_in(file.tensors).items():
                read_released({key: file.tensors[key] for key in keys}, stream, source)
        except ArtifactError as error:
            raise ArtifactError(f"{path}: {error}") from error

    def judge(content: bytes) -> Outcome:
        path.write_bytes(content)
        return Outcome(isinstance(ask(read, str(path)), SkelepipeError))

    return seeds, judge


def partition(folder: Path) -> tuple[Sequence[bytes], Judge]:
    path = folder / "part.npz"
    note = {"names": ["a"], "recordings": ["a"], "extra": [[]], "quarantine": [], "stamps": [["a", [["", 1, 2]]]]}
    columns = np.ones((1, len(COLUMNS)), np.int64)
    arrays = {"columns": columns, "xyz": np.ones((3, 25, 3), np.float32)}
    seeds = [written(np.savez, note=np.frombuffer(json.dumps(note).encode(), np.uint8), **arrays)]

    def judge(content: bytes) -> Outcome:
        path.write_bytes(content)
        found = ask(lambda: read_partition(path), str(path))
        motion = ask(lambda: list(read_partition_motion(path)), str(path))
        return Outcome(isinstance(found, SkelepipeError) or isinstance(motion, SkelepipeError))

    return seeds, judge


def embedded(folder: Path) -> tuple[Sequence[bytes], Judge]:
    path, run = folder / "x.npz", versions.copied(folder / "v1").run
    clips = np.ones((2, 3, 2, 25, 1), np.float32)
    seeds = [
        written(np.savez, data=clips),
        written(np.savez_compressed, data=clips, labels=np.arange(2), names=np.array(["a", "b"])),
    ]

    def judge(content: bytes) -> Outcome:
        path.write_bytes(content)
        return Outcome(isinstance(ask(lambda: embed.from_file(run, path), str(path)), SkelepipeError))

    return seeds, judge


TARGETS = (
    Target(name="zips", start=zips, ways=damage.ZIP, share=20),
    Target(name="safetensors", start=safetensors, ways=damage.SAFETENSORS, share=25),
    Target(name="torch files", start=torch_files, ways=PACKED, share=5, room=64 << 20),
    Target(name="partitions", start=partition, ways=PACKED, share=5, times=200),
    Target(name="embed npz", start=embedded, ways=PACKED, share=5, times=200),
)
