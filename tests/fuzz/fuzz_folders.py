"""Fuzz targets: folder data sets, their descriptions, and the files of other tools."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.convert.registry import TOOLS
from pipeline.convert.tool import FoundRecording, Options, Unreadable
from pipeline.errors import RawFileError, SkelepipeError
from pipeline.files.raw_files import RawFile
from pipeline.sources.folder import arrays
from pipeline.sources.folder.manifest_csv import read_manifest_csv
from pipeline.sources.folder.skeleton_toml import read_skeleton_toml
from pipeline.synth import tools
from tests.fuzz import damage
from tests.fuzz.fuzz_judging import Judge, Outcome, Target, Wrong, ask, written
from tests.fuzz.fuzz_packed import PACKED
from tests.pipeline.sources import test_folder_arrays, test_skeleton_toml

TOML_OF_FOLDER = test_skeleton_toml.SMALL.encode()


def folder_toml(folder: Path) -> tuple[Sequence[bytes], Judge]:
    path = folder / "skeleton.toml"
    seeds = [TOML_OF_FOLDER, TOML_OF_FOLDER.replace(b'names = ["wave", "bow"]', b'0 = "wave"\n7 = "bow"')]

    def judge(content: bytes) -> Outcome:
        path.write_bytes(content)
        return Outcome(isinstance(ask(lambda: read_skeleton_toml(path), str(path)), SkelepipeError))

    return seeds, judge


def folder_table(folder: Path) -> tuple[Sequence[bytes], Judge]:
    folder.joinpath("skeleton.toml").write_bytes(TOML_OF_FOLDER)
    spec, path = read_skeleton_toml(folder / "skeleton.toml"), folder / "manifest.csv"
    seeds = [
        b"file,label,subject,correct\na.npy,0,1,yes\nb.npy,wave,2,no\nc/d.csv,bow,3,yes\n",
        b"\xef\xbb\xbffile;key;label;subject;start;end;correct\r\na.h5;x;0;1;0;10;no\r\na.h5::y;1;2;5;;yes\r\n",
        b'file\tname\tlabel\tsubject\tcorrect\n"a.npz"\tone\t1\t3\t"y\n es"\nb.npz\ttwo\t0\t1\t\n',
    ]

    def judge(content: bytes) -> Outcome:
        path.write_bytes(content)
        found = ask(lambda: read_manifest_csv(path, spec), str(folder))
        unlabelled = ask(lambda: read_manifest_csv(path, spec, with_labels=False), str(folder))
        for row in () if isinstance(unlabelled, SkelepipeError) else unlabelled.rows:
            if row.file and (row.file.startswith("/") or ".." in row.file.split("/")):
                raise Wrong(f"a file outside the folder: {row.file!r}")
        return Outcome(isinstance(found, SkelepipeError))

    return seeds, judge


def tool_file(tool: str, *clips: tuple[str, int]) -> Callable[[Path], tuple[Sequence[bytes], Judge]]:
    """Return a target for output files of another tool, read like `convert`. Each clip is a file name and a number."""

    def start(folder: Path) -> tuple[Sequence[bytes], Judge]:
        chance = np.random.default_rng(5)
        bodies = [chance.normal(0, 0.3, (4, 25, 3)) + np.array([0, 0, 3]) for _ in range(2)]
        seeds = [min(tools.TOOLS[tool](bodies, number, chance).values(), key=len) for _, number in clips]
        path = folder / clips[0][0]
        found = FoundRecording(path.stem, (RawFile(path),), (0,) if tool == "openpose" else ())

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
                raise Wrong(f"confidence of {take.confidence.shape} for positions of {take.xyz.shape}")
            return Outcome(False)

        return seeds, judge

    return start


def folder_clip(suffix: str, seeds: Callable[[], list[bytes]]) -> Callable[[Path], tuple[Sequence[bytes], Judge]]:
    """Return a target for clips of a folder data set in one file format."""

    def start(folder: Path) -> tuple[Sequence[bytes], Judge]:
        path, spec = folder / f"clip{suffix}", test_folder_arrays.spec()

        def read() -> Any:
            with arrays.open_arrays(RawFile(path, "", path.stat().st_size), spec) as bodies:
                return bodies("")

        def judge(content: bytes) -> Outcome:
            path.write_bytes(content)
            found = ask(read, str(path), len(re.split(rb"\r\n|\n|\r", content)))
            if isinstance(found, SkelepipeError):
                return Outcome(True)
            if found.xyz.ndim != 4 or found.xyz.shape[2:] != (5, 3) or np.isnan(found.xyz).any():
                raise Wrong(f"bodies {found.xyz.shape} are not valid")
            return Outcome(False)

        return seeds(), judge

    return start


def tables() -> list[bytes]:
    one, two = test_folder_arrays.motion(1, 3, 5, 3), test_folder_arrays.motion(2, 3, 5, 2)
    texts = [test_folder_arrays.table(one), test_folder_arrays.table(two, frame=1, mark=";")]
    return [
        text.encode() for text in (*texts, test_folder_arrays.table(two), "\ufeff" + texts[0].replace("\n", "\r\n"))
    ]


def npy_files() -> list[bytes]:
    clip = test_folder_arrays.motion(2, 3, 5, 3)
    return [
        written(np.save, array) for array in (clip, clip.astype(">f8")[0], (clip[0] * 9).astype("i2").reshape(3, 15))
    ]


def npz_files() -> list[bytes]:
    clip = test_folder_arrays.motion(2, 3, 5, 3)
    return [
        written(np.savez, xyz=clip),
        written(np.savez_compressed, keypoints=clip[0], score=clip[..., 0]),
        written(np.savez_compressed, anything=np.zeros((1, 500, 5, 3), np.float32)),
    ]


JSON_AND_TEXT: tuple[damage.Way, ...] = (*damage.JSON, *damage.TEXT)


TARGETS = (
    Target(name="skeleton.toml", start=folder_toml, ways=damage.TOML, share=25, times=300, room=64 << 20),
    Target(name="manifest.csv", start=folder_table, ways=damage.TEXT, share=35, times=300),
    Target(
        name="mediapipe",
        start=tool_file("mediapipe", ("a.json", 0)),
        ways=JSON_AND_TEXT,
        share=10,
        times=300,
        room=64 << 20,
    ),
    Target(
        name="openpose", start=tool_file("openpose", ("a_0_keypoints.json", 0)), ways=JSON_AND_TEXT, share=10, times=300
    ),
    Target(
        name="coco",
        start=tool_file("coco", *((f"{number}.json", number) for number in range(3))),
        ways=JSON_AND_TEXT,
        share=10,
        times=300,
        room=64 << 20,
    ),
    Target(
        name="azure kinect",
        start=tool_file("azure-kinect", ("a.json", 0)),
        ways=JSON_AND_TEXT,
        share=10,
        times=300,
        room=64 << 20,
    ),
    Target(
        name="kinect v1", start=tool_file("kinect-v1", ("a01_s01_e01.txt", 0)), ways=damage.TEXT, share=10, times=100
    ),
    Target(name="bvh", start=tool_file("bvh", ("a.bvh", 0)), ways=damage.TEXT, share=10, times=300),
    Target(name="clip csv", start=folder_clip(".csv", tables), ways=damage.TEXT, share=30, times=100),
    Target(name="clip npy", start=folder_clip(".npy", npy_files), ways=damage.NPY, share=20),
    Target(name="clip npz", start=folder_clip(".npz", npz_files), ways=PACKED, share=20, times=200),
)
