"""Fuzz targets: skelepipe's artifacts with one damaged file, with and without a corrected checksum."""

import json
import random
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import google_crc32c

from pipeline.artifacts import manifest, schemas
from pipeline.artifacts.latest import open_newest
from pipeline.artifacts.paths import LATEST_FILE
from pipeline.errors import SkelepipeError
from pipeline.ingest.plan import plan_differences, without_roots
from pipeline.store import verify
from pipeline.store.columns import CHUNK_BODY_FRAMES, SHARD_BODY_FRAMES
from pipeline.store.store import Store
from tests.fuzz import damage
from tests.fuzz.fuzz_judging import Judge, Outcome, Target, ask, same
from tests.pipeline.artifacts import test_format_versions as versions
from trainer.runs.run import load_encoder


def notes(folder: Path) -> tuple[Sequence[bytes], Judge]:
    """LATEST.json and the plan of a job. They need no repair: an unreadable file counts as missing."""
    path = folder / LATEST_FILE
    (folder / "a.zarr").mkdir()
    plan = {"dataset": "ntu60", "tool": "0.1.0", "format_version": 1, "keep_missing": False, "partition": [1, 2]}
    plan |= {"recipe": {"name": "none", "steps": []}, "shared": "x", "roots": ["raw"]}
    asked = manifest.canonical_json({**plan, "entries": [["a", [["/raw/a", "", 3]]]]})
    seeds = [b'{"store": "a.zarr", "run": "r"}', asked]

    def judge(content: bytes) -> Outcome:
        path.write_bytes(content)
        found, _ = ask(lambda: open_newest(folder, "store", "*.zarr", lambda path: path.name, "make"), str(folder))
        same(Path(found).name in {"a.zarr", folder.name, ".."} or found == "", True)
        ask(lambda: without_roots(content), "")
        differences = ask(lambda: plan_differences(content, asked), "")
        return Outcome(bool(differences))

    return seeds, judge


def several(folder: Path) -> tuple[Sequence[bytes], Judge]:
    """Documents with a digest, opened as every kind of document: only the right kind may be accepted."""
    path = folder / "d.json"
    forms = [
        schemas.SPLIT,
        schemas.SUBSET,
        schemas.RUN,
        schemas.CHECKPOINT,
        schemas.CLASSIFIER,
        schemas.STORE,
    ]
    own_digest = [entry for entry in versions.DOCUMENTS if entry.checksum_folder is None and not entry.within]
    files = [versions.V1 / entry.file for entry in own_digest]

    def judge(content: bytes) -> Outcome:
        try:
            plain = json.loads(content)
            body = versions.without_digest(plain)
            content = json.dumps({**body, "digest": manifest.json_digest(body)}, indent=1).encode() + b"\n"
        except (ValueError, RecursionError, AttributeError):
            pass
        path.write_bytes(content)
        accepted = [
            not isinstance(ask(lambda form=form: manifest.open_document(path, form), str(path)), SkelepipeError)
            for form in forms
        ]
        return Outcome(not any(accepted))

    return [file.read_bytes() for file in files], judge


def document(entry: versions.Document) -> Callable[[Path], tuple[Sequence[bytes], Judge]]:
    """Return a target for a document with a digest, opened by the function that opens it in use."""

    def start(folder: Path) -> tuple[Sequence[bytes], Judge]:
        golden = versions.copied(folder / "v1")
        path = golden.root / entry.file
        # The document may be a part of zarr.json; then the metadata of the group is damaged.
        first = json.dumps(entry.read(golden.root), indent=1).encode()
        seeds = [first, first, path.read_bytes()]

        def judge(content: bytes) -> Outcome:
            put_document(entry, golden.root, content)
            found = ask(lambda: entry.opens(golden), str(golden.root))
            ask(lambda: verify.verify(golden.root / entry.looked_at), str(golden.root))
            return Outcome(isinstance(found, SkelepipeError))

        return seeds, judge

    return start


def put_document(entry: versions.Document, root: Path, content: bytes) -> None:
    """Write bytes as a document. If they are JSON, correct the digest in three of four cases."""
    try:
        plain = json.loads(content)
        if zlib.crc32(content) % 4 and (isinstance(plain, dict) or entry.checksum_folder):
            entry.write(root, plain)
            return
    except (ValueError, RecursionError):
        pass
    (root / entry.file).write_bytes(content)


def checksummed_file(folder: str, file: str) -> Callable[[Path], tuple[Sequence[bytes], Judge]]:
    """Return a target for a file of an artifact. The manifest is updated, then the artifact is read."""

    def start(work_folder: Path) -> tuple[Sequence[bytes], Judge]:
        golden = versions.copied(work_folder / "v1")
        path, manifest_path = golden.root / folder / file, golden.root / folder / manifest.MANIFEST
        about, form = (
            versions.without_digest(json.loads(manifest_path.read_bytes())),
            versions.CHECKSUMMED_FOLDERS[folder],
        )

        def read() -> None:
            if form is schemas.STORE:
                for _ in Store(golden.root / folder).clips():
                    pass
            else:
                load_encoder(golden.run, versions.CPU)

        def judge(content: bytes) -> Outcome:
            path.write_bytes(content)
            about["files"][file] = {"size": len(content), "sha256": manifest.file_digest(path)}
            manifest_path.write_bytes(manifest.encode_document(form, about))
            return Outcome(isinstance(ask(read, str(golden.root)), SkelepipeError))

        return [path.read_bytes()], judge

    return start


def shard(folder: Path) -> tuple[Sequence[bytes], Judge]:
    """A shard of an open store, with its checksum corrected."""
    golden = versions.copied(folder / "v1")
    store = golden.store
    name = "xyz/c/0/0/0"
    path = store.path / name

    def judge(content: bytes) -> Outcome:
        path.write_bytes(content)
        store._files[name] = {"size": len(content), "sha256": manifest.file_digest(path)}
        store._verified_states.clear()
        return Outcome(isinstance(ask(lambda: store.motion(0, int(store.offset[-1])), str(path)), SkelepipeError))

    return [path.read_bytes()], judge


INDEX_BYTES = 16 * SHARD_BODY_FRAMES // CHUNK_BODY_FRAMES + 4


def change_index(content: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    """Change the offset or length of a chunk in the index of a shard and correct the checksum of the index."""
    if len(content) < INDEX_BYTES:
        return content
    index = bytearray(content[-INDEX_BYTES:-4])
    at = 8 * chance.choice((0, 1, 2, 3, chance.randrange(len(index) // 8)))
    (old,) = struct.unpack_from("<Q", index, at)
    new = chance.choice(
        (0, 1, 3, 4, 5, 2**31, 2**40, 2**62, 2**63, 2**64 - 1, old + 1, old - 1, len(content), old + 16)
    )
    struct.pack_into("<Q", index, at, new % 2**64)
    return content[:-INDEX_BYTES] + index + struct.pack("<I", google_crc32c.value(bytes(index)))


def change_chunk(content: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    """Change bytes of the first chunk, mostly in the blosc header, and correct the checksum of the chunk."""
    if len(content) < INDEX_BYTES:
        return content
    offset, length = struct.unpack_from("<QQ", content, len(content) - INDEX_BYTES)
    if not 20 <= length <= len(content) - offset:
        return content
    chunk = bytearray(content[offset : offset + length - 4])
    for _ in range(chance.randint(1, 3)):
        if chance.random() < 0.6:
            at, new = (
                chance.choice((4, 8, 12)),
                chance.choice((*damage.EXTREMES, 2048 * 75 * 4, chance.randrange(1 << 20))),
            )
            struct.pack_into("<I", chunk, at, new % 2**32)
        else:
            chunk[chance.choice((0, 1, 2, 3, 16, 20, chance.randrange(len(chunk))))] = chance.randrange(256)
    check = struct.pack("<I", google_crc32c.value(bytes(chunk)))
    return content[:offset] + chunk + check + content[offset + length :]


SHARD_WAYS: tuple[damage.Way, ...] = (*(change_index, change_chunk) * 10, *damage.BYTES)


QUICK = {versions.SPLIT, versions.SUBSET, f"{versions.RUN}/run.json"}


STORE = versions.STORE


TARGETS = (
    Target(name="LATEST, plans", start=notes, ways=damage.JSON, share=15, times=300),
    Target(name="documents with digests", start=several, ways=damage.JSON, share=15, times=300),
    *(
        Target(
            name=str(entry),
            start=document(entry),
            ways=damage.JSON,
            share=4 if entry.file in QUICK else 1,
            times=300,
            room=64 << 20,
        )
        for entry in versions.DOCUMENTS
    ),
    Target(name="zarr group", start=checksummed_file(STORE, "zarr.json"), ways=damage.JSON, share=1, room=64 << 20),
    Target(
        name="zarr column", start=checksummed_file(STORE, "frames/zarr.json"), ways=damage.JSON, share=1, room=64 << 20
    ),
    Target(
        name="zarr names", start=checksummed_file(STORE, "name/zarr.json"), ways=damage.JSON, share=1, room=64 << 20
    ),
    Target(name="zarr xyz", start=checksummed_file(STORE, "xyz/zarr.json"), ways=damage.JSON, share=1, room=64 << 20),
    Target(
        name="zarr column's bytes",
        start=checksummed_file(STORE, "bodies/c/0"),
        ways=damage.BYTES,
        share=1,
        room=64 << 20,
    ),
    Target(name="zarr shard", start=shard, ways=SHARD_WAYS, share=10, room=64 << 20),
    Target(
        name="checkpoint",
        start=checksummed_file(versions.LAST, "model.safetensors"),
        ways=damage.SAFETENSORS,
        share=2,
        room=64 << 20,
    ),
)
