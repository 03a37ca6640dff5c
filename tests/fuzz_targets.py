"""What the fuzzer is let loose on: for each parser small files to begin with, ways to damage them, and a judge.

A judge takes a file's bytes, has them read, and holds the answer against a slow twin where there is one. It raises
`Wrong` for any exception that is not one of ours, for a message that does not name the file (and for texts the line),
and for another answer than the twin's.
"""

import io
import json
import os
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import google_crc32c
import mutate
import numpy as np
import reference
import released
import test_folder_clips
import test_folder_layout
import test_format_versions as versions
import test_hostile_zips
import test_ntu_text
import test_pku_text
import torch
from safetensors.torch import save

from pipeline import (
    documents,
    folder_clips,
    folder_layout,
    folder_manifest,
    latest,
    manifest,
    partitions,
    pku_labels,
    plans,
    raw_files,
    recipe,
    split_lists,
    synth_tools,
    verify,
)
from pipeline import store as stores
from pipeline.archives import Archive
from pipeline.convert.takes import Found, Options, Unreadable
from pipeline.convert.tools import TOOLS
from pipeline.errors import ArtifactError, RawFileError, SkelepipeError
from pipeline.raw_files import RawFile
from trainer import config, embed, eval_config, foreign, runlog, runs, tensors, torch_file

LONGEST_MESSAGE = 5000


class Wrong(Exception):
    """What a parser did that it must not."""


class Outcome(NamedTuple):
    """What came of a case."""

    refused: bool
    twin: bool = False
    """Whether a twin was asked, and said the same."""


Judge = Callable[[bytes], Outcome]


@dataclass(frozen=True, kw_only=True)
class Target:
    """A parser under fire."""

    name: str
    start: Callable[[Path], tuple[Sequence[bytes], Judge]]
    """Makes what it needs in an empty folder; gives the files to begin with, and the judge."""
    ways: tuple[mutate.Way, ...]
    share: int
    """Of a thousand parts of all cases."""
    room: int = 8 << 20
    """Bytes of memory that a case may take however small its file."""
    times: int = 32
    """Bytes of memory that each byte of a file may take beyond that."""

    def content(self, seeds: Sequence[bytes], seed: int, number: int) -> bytes:
        """The file of one case, which follows from the fuzzer's seed, the target and the number alone."""
        chance = random.Random(f"{seed} {self.name} {number}")
        return mutate.damaged(chance.choice(seeds), self.ways, chance, seeds)


def ask(read: Callable[[], Any], named: str, lines: int | None = None) -> Any:
    """What a parser gives, or its refusal: an error of ours that names the file, and one of its lines if so asked."""
    try:
        return read()
    except SkelepipeError as error:
        text = str(error)
        if named not in text:
            raise Wrong(f"the message does not name {named!r}: {text[:300]!r}") from error
        try:
            text.encode()
        except UnicodeEncodeError:
            raise Wrong(f"the message cannot be printed: {text[:300]!r}") from error
        if len(text) > LONGEST_MESSAGE:
            raise Wrong(f"the message has {len(text)} characters: {text[:300]!r}") from error
        if re.search(r"[\n\r\x1b\0]", text):
            raise Wrong(f"the message is not one plain line: {text[:300]!r}") from error
        if lines is not None and not (isinstance(error, RawFileError) and 0 <= error.line <= lines):
            raise Wrong(f"the message names no line of {lines}: {text[:300]!r}") from error
        return error
    except Exception as error:
        raise Wrong(f"{type(error).__name__}: {str(error)[:300]}") from error


def same(found: Any, wanted: Any) -> None:
    """Hold an answer against the twin's."""
    if found != wanted:
        raise Wrong(f"other than the twin: {str(found)[:300]} for {str(wanted)[:300]}")


# Texts


def ntu_text(_: Path) -> tuple[Sequence[bytes], Judge]:
    body = test_ntu_text.BODY
    one = test_ntu_text.skeleton([[body]])
    odd = test_ntu_text.with_numbers(test_ntu_text.ODD_NUMBERS[:75])
    golden = min((path.read_bytes() for path in test_ntu_text.RAW), key=len)
    first_frame = b"1" + b"".join(golden.splitlines(keepends=True)[1:29]).join([golden[:0].join([b"\r\n"]), b""])
    seeds = [one, one.replace(b"\r\n", b"\n"), test_ntu_text.skeleton([[], [body], []]), odd, first_frame]

    def judge(content: bytes) -> Outcome:
        found = ask(lambda: test_ntu_text.parse_bytes(content), "there.skeleton", content.count(b"\n") + 1)
        wanted = test_ntu_text.twin_outcome(content)
        if isinstance(found, RawFileError):
            same(("refused", found.line or 1), wanted)
            return Outcome(True, True)
        rows = zip(found.frame, found.slot, found.body, found.xyz, found.tracking, strict=True)
        same((found.frames, [(int(f), int(s), int(b), x.tobytes(), t.tobytes()) for f, s, b, x, t in rows]), wanted)
        return Outcome(False, True)

    return seeds, judge


def pku_text(_: Path) -> tuple[Sequence[bytes], Judge]:
    two = test_pku_text.fixed(test_pku_text.one_body(2))
    both = test_pku_text.one_body(1)
    both[:, 75:] = 0.25
    seeds = [two, test_pku_text.fixed(both), two.replace(b"\n", b"\r\n"), test_pku_text.with_numbers(test_pku_text.ODD)]

    def judge(content: bytes) -> Outcome:
        found = ask(lambda: test_pku_text.parse_bytes(content), "there.txt", content.count(b"\n") + 1)
        wanted = test_pku_text.twin_outcome(content)
        if isinstance(found, RawFileError):
            same(("refused", found.line or 1), wanted)
            return Outcome(True, True)
        same((found.frames, test_pku_text.all_numbers(found).tobytes()), wanted)
        return Outcome(False, True)

    return seeds, judge


LABELS = (
    b"21,158,239,2\n24,300,350,1\n",
    b" 51 , 3,9 \r\n\r\n7,3,90,\r\n",
    b"\xef\xbb\xbf1,0,1,0.87\n2,1,2,+1\n3,2,3,2",
)


def pku_label_rows(_: Path) -> tuple[Sequence[bytes], Judge]:
    def judge(content: bytes) -> Outcome:
        found = ask(lambda: pku_labels.parse(content, "there.txt"), "there.txt", content.count(b"\n") + 1)
        wanted = reference.parse_label_rows(content)
        if isinstance(found, RawFileError):
            same(found.line == 1 or not wanted, True)  # no text at all, as its first bytes say, or no row
            return Outcome(True, True)
        rows = [(row.line, None if row.fault else (row.action, row.start, row.end, row.confidence)) for row in found]
        same(rows, wanted)
        for row in found:
            if len(row.fault) > LONGEST_MESSAGE or not row.fault.isprintable():
                raise Wrong(f"the fault is no plain line: {row.fault[:300]!r}")
        return Outcome(False, True)

    return LABELS, judge


def split_list(place: Path) -> tuple[Sequence[bytes], Judge]:
    path = place / "cross-subject.txt"
    shipped = b"Training videos: \n0002-L, 0002-M, 0002-R\nValidataion videos: \n0291-L, 0291-M\n"
    seeds = [shipped, shipped.replace(b"\n", b"\r\n"), shipped.replace(b", ", b",\n"), b"train:a\nTest clips:b.c,d-e"]

    def judge(content: bytes) -> Outcome:
        path.write_bytes(content)
        found = ask(lambda: split_lists.read(path), str(path))
        wanted = reference.parse_split_names(content)
        if isinstance(found, SkelepipeError):
            line = re.match(rf"{re.escape(str(path))}:(\d+): ", str(found))
            if line and int(line[1]) > len(re.split(rb"\r\n|\n|\r", content)):
                raise Wrong(f"the message names a line that there is not: {found}")
            same(None, wanted if not str(found).startswith(f"{path}: this is") else None)
            return Outcome(True, True)
        same((found.train, found.test), wanted)
        return Outcome(False, True)

    return seeds, judge


def log(place: Path) -> tuple[Sequence[bytes], Judge]:
    path = place / "log.jsonl"
    whole = (versions.V1 / versions.RUN / "log.jsonl").read_bytes()
    seeds = [whole, whole * 2, b'{"step": 3}\n{"step": 4}\n{"ste']

    def judge(content: bytes) -> Outcome:
        path.write_bytes(content)
        wanted = reference.log_lines(content)
        same(repr(ask(lambda: runlog.read(path), str(path))), repr(wanted))

        def go_on() -> list[Any]:
            with runlog.RunLog(path, 1):
                return runlog.read(path)

        same(repr(ask(go_on, str(path))), repr([event for event in wanted if event["step"] < 1]))
        return Outcome(False, True)

    return seeds, judge


# TOML and CSV


def recipe_file(place: Path) -> tuple[Sequence[bytes], Judge]:
    path = place / "r.toml"
    seeds = [file.read_bytes() for file in sorted(Path(recipe.__file__).with_name("recipes").glob("*.toml"))]

    def judge(content: bytes) -> Outcome:
        path.write_bytes(content)
        found = ask(lambda: recipe.load(str(path)), str(path))
        if isinstance(found, SkelepipeError):
            return Outcome(True)
        same(recipe.from_plain(found.resolved, "again").resolved, found.resolved)
        return Outcome(False)

    return seeds, judge


CONFIG = b"""
frames = 32
epochs = 20
batch_size = 16
precision = "bf16"
schedule = "step"
milestones = [5, 10]
held_out = [1, "a"]
warm_up = 0.5

[method]
name = "skelemixclr+"
temperature = 0.2
[method.mix]
frames = [1, 3]
[encoder]
hidden_channels = 8
[augment]
[pair]
queue_size = 64
"""


def pretrain_config(place: Path) -> tuple[Sequence[bytes], Judge]:
    path, quick = place / "c.toml", config.preset("quick")
    presets = [file.read_bytes() for file in sorted(Path(config.__file__).with_name("presets").glob("*.toml"))]
    seeds = [CONFIG, *(text.partition(b"[config]")[2].replace(b"[config.", b"[") for text in presets[:4])]

    def judge(content: bytes) -> Outcome:
        path.write_bytes(content)
        found = ask(lambda: config.compose(quick, path), str(path))
        return Outcome(isinstance(found, SkelepipeError))

    return seeds, judge


def settings(_: Path) -> tuple[Sequence[bytes], Judge]:
    """Texts of --set, of both commands that take it."""
    seeds = [
        *(b"seed=3", b"linear.epochs=5", b"finetune.decay_at=[0.5]", b"knn.k=20", b"semi.nesterov=true"),
        *(b"frames=16", b"method.mix.frames=[1, 3]", b"encoder.hidden_channels=2", b"stream=bone", b"a.b.c='x'"),
    ]
    quick = config.preset("quick")

    def judge(content: bytes) -> Outcome:
        text = content.decode("utf-8", "surrogateescape")
        evaluation = ask(lambda: eval_config.compose([text]), "")
        training = ask(lambda: config.compose(quick, None, [text]), "")
        return Outcome(isinstance(evaluation, SkelepipeError) and isinstance(training, SkelepipeError))

    return seeds, judge


TOML_OF_FOLDER = test_folder_layout.SMALL.encode()


def folder_toml(place: Path) -> tuple[Sequence[bytes], Judge]:
    path = place / "skeleton.toml"
    seeds = [TOML_OF_FOLDER, TOML_OF_FOLDER.replace(b'names = ["wave", "bow"]', b'0 = "wave"\n7 = "bow"')]

    def judge(content: bytes) -> Outcome:
        path.write_bytes(content)
        return Outcome(isinstance(ask(lambda: folder_layout.read(path), str(path)), SkelepipeError))

    return seeds, judge


def folder_table(place: Path) -> tuple[Sequence[bytes], Judge]:
    place.joinpath("skeleton.toml").write_bytes(TOML_OF_FOLDER)
    spec, path = folder_layout.read(place / "skeleton.toml"), place / "manifest.csv"
    seeds = [
        b"file,label,subject,correct\na.npy,0,1,yes\nb.npy,wave,2,no\nc/d.csv,bow,3,yes\n",
        b"\xef\xbb\xbffile;key;label;subject;start;end;correct\r\na.h5;x;0;1;0;10;no\r\na.h5::y;1;2;5;;yes\r\n",
        b'file\tname\tlabel\tsubject\tcorrect\n"a.npz"\tone\t1\t3\t"y\n es"\nb.npz\ttwo\t0\t1\t\n',
    ]

    def judge(content: bytes) -> Outcome:
        path.write_bytes(content)
        found = ask(lambda: folder_manifest.read(path, spec), str(place))
        unlabelled = ask(lambda: folder_manifest.read(path, spec, labelled=False), str(place))
        for row in () if isinstance(unlabelled, SkelepipeError) else unlabelled.rows:
            if row.file and (row.file.startswith("/") or ".." in row.file.split("/")):
                raise Wrong(f"a file that leads out of the folder: {row.file!r}")
        return Outcome(isinstance(found, SkelepipeError))

    return seeds, judge


def tool_file(tool: str, *clips: tuple[str, int]) -> Callable[[Path], tuple[Sequence[bytes], Judge]]:
    """What another tool writes, read as `convert` does; small files to begin with: name and number of a clip each."""

    def start(place: Path) -> tuple[Sequence[bytes], Judge]:
        chance = np.random.default_rng(5)
        bodies = [chance.normal(0, 0.3, (4, 25, 3)) + np.array([0, 0, 3]) for _ in range(2)]
        seeds = [min(synth_tools.TOOLS[tool](bodies, number, chance).values(), key=len) for _, number in clips]
        path = place / clips[0][0]
        found = Found(path.stem, (RawFile(path),), (0,) if tool == "openpose" else ())

        def read() -> Any:
            try:
                with np.errstate(all="ignore"):
                    return TOOLS[tool].read(found, Options())
            except Unreadable as error:
                return RawFileError(str(path), error.line, str(error))

        def judge(content: bytes) -> Outcome:
            path.write_bytes(content)
            take = ask(read, str(path))
            if isinstance(take, SkelepipeError):
                return Outcome(True)
            M, frames, joints, axes = take.xyz.shape
            if not M or not frames or (joints, axes) != (len(take.layout.joints), 3):
                raise Wrong(f"bodies of {take.xyz.shape}")
            if take.confidence is not None and take.confidence.shape != (M, frames, joints):
                raise Wrong(f"confidence of {take.confidence.shape} beside {take.xyz.shape}")
            return Outcome(False)

        return seeds, judge

    return start


def folder_clip(suffix: str, seeds: Callable[[], list[bytes]]) -> Callable[[Path], tuple[Sequence[bytes], Judge]]:
    """Clips of a folder data set, of one kind of file."""

    def start(place: Path) -> tuple[Sequence[bytes], Judge]:
        path, spec = place / f"clip{suffix}", test_folder_clips.spec()

        def read() -> Any:
            with folder_clips.opened(RawFile(path, "", path.stat().st_size), spec) as bodies:
                return bodies("")

        def judge(content: bytes) -> Outcome:
            path.write_bytes(content)
            found = ask(read, str(path), len(re.split(rb"\r\n|\n|\r", content)))
            if isinstance(found, SkelepipeError):
                return Outcome(True)
            if found.xyz.ndim != 4 or found.xyz.shape[2:] != (5, 3) or np.isnan(found.xyz).any():
                raise Wrong(f"bodies {found.xyz.shape} that are none")
            return Outcome(False)

        return seeds(), judge

    return start


def tables() -> list[bytes]:
    one, two = test_folder_clips.motion(1, 3, 5, 3), test_folder_clips.motion(2, 3, 5, 2)
    texts = [test_folder_clips.table(one), test_folder_clips.table(two, frame=1, mark=";")]
    return [text.encode() for text in (*texts, test_folder_clips.table(two), "\ufeff" + texts[0].replace("\n", "\r\n"))]


def written(write: Callable[..., None], *arrays: Any, **named: Any) -> bytes:
    made = io.BytesIO()
    write(made, *arrays, **named)
    return made.getvalue()


def npy_files() -> list[bytes]:
    clip = test_folder_clips.motion(2, 3, 5, 3)
    return [
        written(np.save, array) for array in (clip, clip.astype(">f8")[0], (clip[0] * 9).astype("i2").reshape(3, 15))
    ]


def npz_files() -> list[bytes]:
    clip = test_folder_clips.motion(2, 3, 5, 3)
    return [
        written(np.savez, xyz=clip),
        written(np.savez_compressed, keypoints=clip[0], score=clip[..., 0]),
        written(np.savez_compressed, anything=np.zeros((1, 500, 5, 3), np.float32)),
    ]


# Zips


def zips(place: Path) -> tuple[Sequence[bytes], Judge]:
    """Archives of recordings: what is taken out of one must be what zipfile finds there."""
    path, text = place / "raw.zip", test_hostile_zips.recording(1)[:900]
    member = test_hostile_zips.member
    seeds = [
        test_hostile_zips.archive(*test_hostile_zips.good(text)),
        test_hostile_zips.archive(*(member(f"{n}.skeleton", text[n:], method=n) for n in (0, 8, 12))),
        test_hostile_zips.archive(member(f"a/{'é' * 3}.skeleton", text), member("b/", b""), begin=b"behind something"),
    ]

    def judge(content: bytes) -> Outcome:
        path.write_bytes(content)
        os.utime(path, ns=(0, zlib.crc32(content)))  # a file of the same size and second is another one all the same
        raw_files._archive.cache_clear()
        found = ask(lambda: raw_files.find([path]), str(path))
        if isinstance(found, SkelepipeError):
            return Outcome(True)
        refused = 0
        for file in found.files:
            bytes_of = ask(lambda file=file: raw_files.read(file), str(path))
            refused += isinstance(bytes_of, SkelepipeError)
            if isinstance(bytes_of, bytes) and zlib.crc32(bytes_of) != Archive(path).members[file.member].CRC:
                raise Wrong(f"{file}: other bytes than the archive says")
        return Outcome(refused == len(found.files))

    return seeds, judge


# Tensors


def safetensors(place: Path) -> tuple[Sequence[bytes], Judge]:
    path = place / "x.safetensors"
    seeds = [
        save({"a": torch.arange(6.0).reshape(2, 3), "b": torch.arange(4), "c": torch.zeros(0, 3)}),
        save({"weight": torch.ones(2, 2, dtype=torch.bfloat16), "on": torch.tensor([True, False])}, {"format": "pt"}),
        save({"scalar": torch.tensor(1.5, dtype=torch.float64)}),
    ]

    def judge(content: bytes) -> Outcome:
        path.write_bytes(content)
        found = ask(lambda: tensors.read(path), str(path))
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


def torch_files(place: Path) -> tuple[Sequence[bytes], Judge]:
    """Checkpoints of other code bases, whole and small ones, in both formats."""
    path = place / "x.pt"
    source = foreign.SOURCES["skelemixclr"]
    state = released.Checkpoint("skelemixclr", channels=1, hidden=4, feature=2, queue=4).state
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
        file = torch_file.read(path)
        try:
            for stream, keys in foreign.streams(file.tensors).items():
                foreign.read({key: file.tensors[key] for key in keys}, stream, source)
        except ArtifactError as error:
            raise ArtifactError(f"{path}: {error}") from error

    def judge(content: bytes) -> Outcome:
        path.write_bytes(content)
        return Outcome(isinstance(ask(read, str(path)), SkelepipeError))

    return seeds, judge


# Artifacts: golden ones of which one file is damaged, and sealed again or not


def document(which: versions.Document) -> Callable[[Path], tuple[Sequence[bytes], Judge]]:
    """A sealed document, opened as it is opened in use."""

    def start(place: Path) -> tuple[Sequence[bytes], Judge]:
        golden = versions.copied(place / "v1")
        path = golden.root / which.file
        # zarr.json, of which a part is the document, is damaged as the group's metadata.
        first = json.dumps(which.read(golden.root), indent=1).encode()
        seeds = [first, first, path.read_bytes()]

        def judge(content: bytes) -> Outcome:
            put_document(which, golden.root, content)
            found = ask(lambda: which.opens(golden), str(golden.root))
            ask(lambda: verify.verify(golden.root / which.looked_at), str(golden.root))
            return Outcome(isinstance(found, SkelepipeError))

        return seeds, judge

    return start


def put_document(which: versions.Document, root: Path, content: bytes) -> None:
    """Put bytes in the place of a document; three times in four, and when it is JSON, sealed as if it were ours."""
    try:
        plain = json.loads(content)
        if zlib.crc32(content) % 4 and (isinstance(plain, dict) or which.sealed_by):
            which.write(root, plain)
            return
    except (ValueError, RecursionError):
        pass
    (root / which.file).write_bytes(content)


def sealed_file(folder: str, file: str) -> Callable[[Path], tuple[Sequence[bytes], Judge]]:
    """A file of a sealed folder, which is sealed again over whatever stands there; then all of the artifact is read."""

    def start(place: Path) -> tuple[Sequence[bytes], Judge]:
        golden = versions.copied(place / "v1")
        path, sealed = golden.root / folder / file, golden.root / folder / manifest.MANIFEST
        about, form = versions.without_digest(json.loads(sealed.read_bytes())), versions.SEALED_FOLDERS[folder]

        def read() -> None:
            if form is documents.STORE:
                for _ in stores.Store(golden.root / folder).clips():
                    pass
            else:
                runs.load_encoder(golden.run, versions.CPU)

        def judge(content: bytes) -> Outcome:
            path.write_bytes(content)
            about["files"][file] = {"size": len(content), "sha256": manifest.file_digest(path)}
            sealed.write_bytes(manifest.seal_document(form, about))
            return Outcome(isinstance(ask(read, str(golden.root)), SkelepipeError))

        return [path.read_bytes()], judge

    return start


def shard(place: Path) -> tuple[Sequence[bytes], Judge]:
    """A shard of a store that is open, sealed again: what stands behind every checksum."""
    golden = versions.copied(place / "v1")
    store = golden.store
    name = "xyz/c/0/0/0"
    path = store.path / name

    def judge(content: bytes) -> Outcome:
        path.write_bytes(content)
        store._files[name] = {"size": len(content), "sha256": manifest.file_digest(path)}
        store._seen.clear()
        return Outcome(isinstance(ask(lambda: store.motion(0, int(store.offset[-1])), str(path)), SkelepipeError))

    return [path.read_bytes()], judge


INDEX = 16 * stores.SHARD // stores.CHUNK + 4


def change_index(content: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    """Where a shard's index says that a chunk lies, or its length, with the index's checksum made to fit."""
    if len(content) < INDEX:
        return content
    index = bytearray(content[-INDEX:-4])
    at = 8 * chance.choice((0, 1, 2, 3, chance.randrange(len(index) // 8)))
    (old,) = struct.unpack_from("<Q", index, at)
    new = chance.choice(
        (0, 1, 3, 4, 5, 2**31, 2**40, 2**62, 2**63, 2**64 - 1, old + 1, old - 1, len(content), old + 16)
    )
    struct.pack_into("<Q", index, at, new % 2**64)
    return content[:-INDEX] + index + struct.pack("<I", google_crc32c.value(bytes(index)))


def change_chunk(content: bytes, chance: random.Random, _: Sequence[bytes]) -> bytes:
    """Bytes of the first chunk, those of blosc's header the likeliest, with the chunk's checksum made to fit."""
    if len(content) < INDEX:
        return content
    offset, length = struct.unpack_from("<QQ", content, len(content) - INDEX)
    if not 20 <= length <= len(content) - offset:
        return content
    chunk = bytearray(content[offset : offset + length - 4])
    for _ in range(chance.randint(1, 3)):
        if chance.random() < 0.6:
            at, new = (
                chance.choice((4, 8, 12)),
                chance.choice((*mutate.EXTREMES, 2048 * 75 * 4, chance.randrange(1 << 20))),
            )
            struct.pack_into("<I", chunk, at, new % 2**32)
        else:
            chunk[chance.choice((0, 1, 2, 3, 16, 20, chance.randrange(len(chunk))))] = chance.randrange(256)
    check = struct.pack("<I", google_crc32c.value(bytes(chunk)))
    return content[:offset] + chunk + check + content[offset + length :]


SHARD_WAYS: tuple[mutate.Way, ...] = (*(change_index, change_chunk) * 10, *mutate.BYTES)


def change_member(content: bytes, chance: random.Random, others: Sequence[bytes]) -> bytes:
    """A member of a zip damaged, and the zip made anew around it: what stands behind its checksums."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            held = {name: archive.read(name) for name in archive.namelist()}
    except Exception:  # damaged already, in any way
        return content
    if not held:
        return content
    # Of torch's files the small pickle says what the rest means.
    name = next((name for name in held if name.endswith("data.pkl") and chance.random() < 0.6), None)
    name = name or chance.choice(list(held))
    held[name] = chance.choice((*mutate.BYTES, mutate.change_npy_header))(held[name], chance, others)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for member, inner in held.items():
            archive.writestr(member, inner)
    return made.getvalue()


# Small files that are written for ourselves


def partition(place: Path) -> tuple[Sequence[bytes], Judge]:
    path = place / "part.npz"
    note = {"names": ["a"], "recordings": ["a"], "extra": [[]], "quarantine": [], "stamps": [["a", [["", 1, 2]]]]}
    columns = np.ones((1, len(stores.COLUMNS)), np.int64)
    held = {"columns": columns, "xyz": np.ones((3, 25, 3), np.float32)}
    seeds = [written(np.savez, note=np.frombuffer(json.dumps(note).encode(), np.uint8), **held)]

    def judge(content: bytes) -> Outcome:
        path.write_bytes(content)
        found = ask(lambda: partitions.read(path), str(path))
        motion = ask(lambda: partitions.read_motion(path), str(path))
        return Outcome(isinstance(found, SkelepipeError) or isinstance(motion, SkelepipeError))

    return seeds, judge


def embedded(place: Path) -> tuple[Sequence[bytes], Judge]:
    path, run = place / "x.npz", versions.copied(place / "v1").run
    clips = np.ones((2, 3, 2, 25, 1), np.float32)
    seeds = [
        written(np.savez, data=clips),
        written(np.savez_compressed, data=clips, labels=np.arange(2), names=np.array(["a", "b"])),
    ]

    def judge(content: bytes) -> Outcome:
        path.write_bytes(content)
        return Outcome(isinstance(ask(lambda: embed.from_file(run, path), str(path)), SkelepipeError))

    return seeds, judge


def notes(place: Path) -> tuple[Sequence[bytes], Judge]:
    """LATEST.json and a job's plan, which nobody is asked to mend: what cannot be read counts as not there."""
    path = place / latest.LATEST
    (place / "a.zarr").mkdir()
    plan = {"dataset": "ntu60", "tool": "0.1.0", "format_version": 1, "keep_missing": False, "partition": [1, 2]}
    plan |= {"recipe": {"name": "none", "steps": []}, "shared": "x", "roots": ["raw"]}
    asked = manifest.canonical({**plan, "entries": [["a", [["/raw/a", "", 3]]]]})
    seeds = [b'{"store": "a.zarr", "run": "r"}', asked]

    def judge(content: bytes) -> Outcome:
        path.write_bytes(content)
        found, _ = ask(lambda: latest.newest(place, "store", "*.zarr", lambda path: path.name, "make"), str(place))
        same(Path(found).name in {"a.zarr", place.name, ".."} or found == "", True)
        ask(lambda: plans.core(content), "")
        told = ask(lambda: plans.differences(content, asked), "")
        return Outcome(bool(told))

    return seeds, judge


def several(place: Path) -> tuple[Sequence[bytes], Judge]:
    """Any of our sealed documents, asked for by the name of another: the kinds are told apart."""
    path = place / "d.json"
    forms = [
        documents.SPLIT,
        documents.SUBSET,
        documents.RUN,
        documents.CHECKPOINT,
        documents.CLASSIFIER,
        documents.STORE,
    ]
    files = [versions.V1 / which.file for which in versions.DOCUMENTS if which.sealed_by is None and not which.within]

    def judge(content: bytes) -> Outcome:
        try:
            plain = json.loads(content)
            body = versions.without_digest(plain)
            content = json.dumps({**body, "digest": manifest.digest(body)}, indent=1).encode() + b"\n"
        except (ValueError, RecursionError, AttributeError):
            pass
        path.write_bytes(content)
        taken = [
            not isinstance(ask(lambda form=form: manifest.open_document(path, form), str(path)), SkelepipeError)
            for form in forms
        ]
        return Outcome(not any(taken))

    return [file.read_bytes() for file in files], judge


_OF_TEXT = {"share": 0, "ways": mutate.TEXT}
QUICK = {versions.SPLIT, versions.SUBSET, f"{versions.RUN}/run.json"}
TOLD: tuple[mutate.Way, ...] = (*mutate.JSON, *mutate.TEXT)
PACKED: tuple[mutate.Way, ...] = (*(change_member,) * 8, *mutate.NPZ)
STORE = versions.STORE

TARGETS = (
    Target(name="ntu text", start=ntu_text, ways=mutate.TEXT, share=270),
    Target(name="pku text", start=pku_text, ways=mutate.TEXT, share=200),
    Target(name="pku labels", start=pku_label_rows, ways=mutate.TEXT, share=150, times=300),
    Target(name="split lists", start=split_list, ways=mutate.TEXT, share=60, times=100),
    Target(name="log.jsonl", start=log, ways=(*mutate.JSON, *mutate.TEXT), share=20, times=100),
    Target(name="recipe toml", start=recipe_file, ways=mutate.TOML, share=25, times=300, room=64 << 20),
    Target(name="pretrain toml", start=pretrain_config, ways=mutate.TOML, share=25, times=300, room=64 << 20),
    Target(name="--set", start=settings, ways=(*mutate.TOML, *mutate.TEXT), share=25, times=300, room=64 << 20),
    Target(name="skeleton.toml", start=folder_toml, ways=mutate.TOML, share=25, times=300, room=64 << 20),
    Target(name="manifest.csv", start=folder_table, ways=mutate.TEXT, share=35, times=300),
    Target(
        name="mediapipe", start=tool_file("mediapipe", ("a.json", 0)), ways=TOLD, share=10, times=300, room=64 << 20
    ),
    Target(name="openpose", start=tool_file("openpose", ("a_0_keypoints.json", 0)), ways=TOLD, share=10, times=300),
    Target(
        name="coco",
        start=tool_file("coco", *((f"{number}.json", number) for number in range(3))),
        ways=TOLD,
        share=10,
        times=300,
        room=64 << 20,
    ),
    Target(
        name="azure kinect",
        start=tool_file("azure-kinect", ("a.json", 0)),
        ways=TOLD,
        share=10,
        times=300,
        room=64 << 20,
    ),
    Target(
        name="kinect v1", start=tool_file("kinect-v1", ("a01_s01_e01.txt", 0)), ways=mutate.TEXT, share=10, times=100
    ),
    Target(name="bvh", start=tool_file("bvh", ("a.bvh", 0)), ways=mutate.TEXT, share=10, times=300),
    Target(name="clip csv", start=folder_clip(".csv", tables), ways=mutate.TEXT, share=30, times=100),
    Target(name="clip npy", start=folder_clip(".npy", npy_files), ways=mutate.NPY, share=20),
    Target(name="clip npz", start=folder_clip(".npz", npz_files), ways=PACKED, share=20, times=200),
    Target(name="zips", start=zips, ways=mutate.ZIP, share=20),
    Target(name="safetensors", start=safetensors, ways=mutate.SAFETENSORS, share=25),
    Target(name="torch files", start=torch_files, ways=PACKED, share=5, room=64 << 20),
    Target(name="partitions", start=partition, ways=PACKED, share=5, times=200),
    Target(name="embed npz", start=embedded, ways=PACKED, share=5, times=200),
    Target(name="LATEST, plans", start=notes, ways=mutate.JSON, share=15, times=300),
    Target(name="sealed documents", start=several, ways=mutate.JSON, share=15, times=300),
    *(
        Target(
            name=str(which),
            start=document(which),
            ways=mutate.JSON,
            share=4 if which.file in QUICK else 1,
            times=300,
            room=64 << 20,
        )
        for which in versions.DOCUMENTS
    ),
    Target(name="zarr group", start=sealed_file(STORE, "zarr.json"), ways=mutate.JSON, share=1, room=64 << 20),
    Target(name="zarr column", start=sealed_file(STORE, "frames/zarr.json"), ways=mutate.JSON, share=1, room=64 << 20),
    Target(name="zarr names", start=sealed_file(STORE, "name/zarr.json"), ways=mutate.JSON, share=1, room=64 << 20),
    Target(name="zarr xyz", start=sealed_file(STORE, "xyz/zarr.json"), ways=mutate.JSON, share=1, room=64 << 20),
    Target(
        name="zarr column's bytes", start=sealed_file(STORE, "bodies/c/0"), ways=mutate.BYTES, share=1, room=64 << 20
    ),
    Target(name="zarr shard", start=shard, ways=SHARD_WAYS, share=10, room=64 << 20),
    Target(
        name="checkpoint",
        start=sealed_file(versions.LAST, "model.safetensors"),
        ways=mutate.SAFETENSORS,
        share=2,
        room=64 << 20,
    ),
)
"""By their names unique."""
BY_NAME = {target.name: target for target in TARGETS}
