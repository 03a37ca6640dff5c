"""The folder source: labels, names and splits of clips, and refusals that do not affect other clips."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.errors import ArtifactNotFound, ConfigError, LayoutError, RawFileError, RecipeError, SkelepipeError
from pipeline.ingest.ingest import ingest
from pipeline.ingest.request import IngestRequest, IngestResult
from pipeline.recipes.recipe import load_recipe
from pipeline.skeleton.segments import DEFAULT_FRAME_INDEX, FrameIndex
from pipeline.sources import registry
from pipeline.sources.folder.manifest_csv import file_names
from pipeline.sources.folder.source import FolderSource
from pipeline.sources.source import Reading, Refusal
from pipeline.store.build_splits import build_splits
from pipeline.store.store import Store

# Like UI-PRMD, with fewer joints and movements.
SKELETON = """
name = "small-prmd"
units = "m"
frames_per_second = 30
joints = ["waist", "chest", "head", "left_arm", "left_hand", "right_arm", "right_hand", "left_leg", "right_leg"]
parents = [-1, 0, 1, 1, 3, 1, 5, 0, 0]
centre = "chest"
spine = ["waist", "chest"]
shoulders = ["left_arm", "right_arm"]   # left, right

[parts]
trunk = ["waist", "chest", "head"]
left_arm = ["left_arm", "left_hand"]
right_arm = ["right_arm", "right_hand"]
left_leg = ["left_leg"]
right_leg = ["right_leg"]

[classes]
names = ["deep squat", "hurdle step", "side lunge"]
"""
V = 9
XSUB = """
[splits.xsub]
train = { subject = [1, 2] }
"""
NO_CLASSES = SKELETON.replace('[classes]\nnames = ["deep squat", "hurdle step", "side lunge"]', "")


def motion(frames: int, seed: int = 0, bodies: int = 0) -> NDArray[np.float32]:
    """The joints of people who walk slowly: (T, V, 3), or (M, T, V, 3)."""
    rng = np.random.default_rng(seed)
    rest = rng.normal(size=(max(bodies, 1), 1, V, 3)) + 5
    xyz = (rest + 0.02 * rng.normal(size=(max(bodies, 1), frames, V, 3)).cumsum(axis=1)).astype(np.float32)
    return xyz if bodies else xyz[0]


def folder(root: Path, manifest: str | Sequence[str], skeleton: str = SKELETON, **clips: NDArray[np.generic]) -> Path:
    """Write a folder with the lines of the manifest.csv, and `clips/NAME.npy` for each clip."""
    (root / "clips").mkdir(parents=True, exist_ok=True)
    (root / "skeleton.toml").write_text(skeleton, encoding="utf-8")
    text = manifest if isinstance(manifest, str) else "".join(line + "\n" for line in manifest)
    (root / "manifest.csv").write_bytes(text.encode())
    for name, clip in clips.items():
        np.save(root / "clips" / f"{name}.npy", clip)
    return root


def rows(*lines: str, header: str = "file,label,subject,replication,correct,frames") -> list[str]:
    return [header, *lines]


def read(root: Path, frame_index: FrameIndex = DEFAULT_FRAME_INDEX) -> tuple[dict[str, Reading], dict[str, Refusal]]:
    """Return all clips and all refusals by name, in the order in which they are read."""
    source = FolderSource([root])
    readings, refusals = {}, {}
    for entry in source.survey(keep_missing=False).entries:
        try:
            for found in source.read(entry, frame_index):
                if isinstance(found, Refusal):
                    refusals[found.name] = found
                else:
                    assert found.recording.name not in readings
                    readings[found.recording.name] = found
        except RawFileError as error:
            refusals[entry.name] = Refusal(name=entry.name, file=entry.file, line=error.line, reason=error.reason)
    return readings, refusals


def one_refused(root: Path, frame_index: FrameIndex = DEFAULT_FRAME_INDEX) -> Refusal:
    """Return the only refusal of a folder whose other clip, `good`, is read."""
    readings, refusals = read(root, frame_index)
    assert list(readings) == ["good"]
    assert len(refusals) == 1
    return next(iter(refusals.values()))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Twelve clips of three movements by four people."""
    names = [f"m{m:02d}_s{s:02d}_e01_correct" for m in range(3) for s in range(1, 5)]
    lines = [
        f"clips/{name}.npy,{m},{s},1,{s % 2},{20 + s}"
        for name, (m, s) in zip(names, np.ndindex(3, 5), strict=False)
        for m, s in [(int(name[1:3]), int(name[5:7]))]
    ]
    clips = {name: motion(20 + int(name[5:7]), seed) for seed, name in enumerate(names)}
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "SOURCE.md").write_text("whence")
    return folder(tmp_path / "small", rows(*lines[::-1]), SKELETON + XSUB, **clips)


def test_a_folder_is_read_with_labels_and_classes(small: Path) -> None:
    source = FolderSource([small])
    survey = source.survey(keep_missing=False)
    assert [entry.name for entry in survey.entries] == sorted(path.stem for path in small.glob("clips/*"))
    assert survey.left_out == {"not in manifest.csv, first SOURCE.md": 1}
    assert (source.name, source.layout.name, source.columns) == ("folder", "small-prmd", ("correct", "frames"))
    assert source.classes == ("deep squat", "hurdle step", "side lunge")
    assert source.rules == {"xsub": {"train": {"subject": [1, 2]}, "test": None}}
    readings, refusals = read(small)
    assert not refusals
    for name, reading in readings.items():
        raw = np.load(small / "clips" / f"{name}.npy", allow_pickle=False)
        np.testing.assert_array_equal(reading.recording.xyz, raw)
        assert reading.recording.frames == len(raw)
        assert reading.labels.label == int(name[1:3])
        assert (reading.labels.subject, reading.labels.camera) == (int(name[5:7]), -1)
        assert reading.labels.extra == (str(int(name[5:7]) % 2), str(len(raw)))


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_manifest_csv_is_read_as_spreadsheets_write_it(tmp_path: Path, mark: str, end: str) -> None:
    lines = rows(
        '"clips/good.npy"|0|1.0|1|"yes, it ""is"""|9|', "", "||||||", header="File|LABEL|subject|camera|why|n|"
    )
    text = "\ufeff" + end.join(lines).replace("|", mark)
    labels = read(folder(tmp_path, text, good=motion(9)))[0]["good"].labels
    assert (labels.label, labels.subject, labels.camera) == (0, 1, 1)
    assert labels.extra == ('yes, it "is"', "9")


def test_absent_bodies_have_no_rows(tmp_path: Path) -> None:
    xyz = motion(9, bodies=2)
    xyz[1, 3:] = 0
    xyz[0, 4] = np.nan
    recording = read(folder(tmp_path, rows("clips/good.npy,0,1,1,1,9"), good=xyz))[0]["good"].recording
    assert recording.frames == 9
    assert recording.frame.tolist() == [0, 0, 1, 1, 2, 2, 3, 5, 6, 7, 8]
    assert recording.slot.tolist() == [0, 1, 0, 1, 0, 1, 0, 0, 0, 0, 0]
    np.testing.assert_array_equal(recording.xyz[1], xyz[1, 0])


SEGMENTS = "file,label,start,end"


@pytest.mark.parametrize(
    ("frame_index", "cut"),
    [("0-exclusive", slice(10, 30)), ("0-inclusive", slice(10, 31)), ("1-inclusive", slice(9, 30))],
)
def test_segments_are_cut_with_the_frame_index_of_the_recipe(
    tmp_path: Path, frame_index: FrameIndex, cut: slice
) -> None:
    xyz = motion(100)
    root = folder(tmp_path, rows("clips/long.npy,0,10,30", "clips/long.npy,1,90,", header=SEGMENTS), long=xyz)
    readings, refusals = read(root, frame_index)
    assert not refusals
    assert list(readings) == ["long_10-30", "long_90-"]
    middle, tail = readings.values()
    np.testing.assert_array_equal(middle.recording.xyz, xyz[cut])
    assert middle.recording.frame.tolist() == list(range(cut.stop - cut.start))
    assert (middle.start, middle.labels.label, middle.step_counts) == (cut.start, 0, {"frames_beyond": 0})
    assert tail.recording.frames == 100 - tail.start
    assert middle.crc32 == tail.crc32


def test_a_recording_is_opened_once_for_all_its_segments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"clips/long.npy,0,{start},{start + 10}" for start in range(0, 90, 10)]
    root = folder(tmp_path, rows(*lines, header=SEGMENTS), long=motion(100))
    opened = []
    load = np.lib.format.read_array
    monkeypatch.setattr(np.lib.format, "read_array", lambda *given, **named: opened.append(1) or load(*given, **named))
    assert len(read(root)[0]) == 9
    assert len(opened) == 1


def test_frames_beyond_the_recording_are_counted(tmp_path: Path) -> None:
    root = folder(tmp_path, rows("clips/long.npy,0,80,130", header=SEGMENTS), long=motion(100))
    (reading,) = read(root)[0].values()
    assert (reading.recording.name, reading.recording.frames) == ("long", 20)
    assert reading.step_counts == {"frames_beyond": 30}


@pytest.mark.parametrize("frame_index", ["0-exclusive", "1-inclusive"])
def test_a_file_with_frame_numbers_is_cut_by_them(tmp_path: Path, frame_index: FrameIndex) -> None:
    xyz = motion(30)
    lines = ["frame," + ",".join(f"c{n}" for n in range(3 * V))]
    lines += [f"{100 + t}," + ",".join(map(repr, row.ravel().tolist())) for t, row in enumerate(xyz)]
    root = folder(tmp_path, rows("clips/long.csv,0,110,115", header=SEGMENTS))
    (root / "clips" / "long.csv").write_text("\n".join(lines))
    (reading,) = read(root, frame_index)[0].values()
    np.testing.assert_array_equal(reading.recording.xyz, xyz[10 : 15 + (frame_index == "1-inclusive")])
    assert reading.start == 10


def test_arrays_of_one_file_are_selected_by_key(tmp_path: Path) -> None:
    lines = rows("all.h5,0,a/one", "all.h5::a/two,1,", "all.h5,2,a/gone", header="file,label,key")
    root = folder(tmp_path, lines)
    with h5py.File(root / "all.h5", "w") as file:
        file["a/one"], file["a/two"] = motion(8, 1), motion(9, 2)
    readings, refusals = read(root)
    assert {name: (clip.recording.frames, clip.labels.label) for name, clip in readings.items()} == {
        "all_a_one": (8, 0),
        "all_a_two": (9, 1),
    }
    assert refusals["all_a_gone"].reason == "has no array 'a/gone' (did you mean a/one?); it has a/one, a/two"
    assert refusals["all_a_gone"].file.name == "all.h5"


def test_clips_are_named_by_their_name_column(tmp_path: Path) -> None:
    lines = rows(
        "clips/b.npy,0,first,,", "clips/a.npy,0,second,0,5", "clips/a.npy,0,,5,9", header="file,label,name,start,end"
    )
    root = folder(tmp_path, lines, a=motion(9), b=motion(9))
    entries = FolderSource([root]).survey(keep_missing=False).entries
    assert [(entry.name, entry.file.name) for entry in entries] == [("a", "a.npy"), ("first", "b.npy")]
    assert list(read(root)[0]) == ["a_5-9", "second", "first"]


def test_files_with_equal_stems_are_named_by_their_paths(tmp_path: Path) -> None:
    root = folder(tmp_path, rows("x/clip.npy,0", "y/clip.npy,1", "y/other.npy,1", header="file,label"))
    for name in ("x/clip", "y/clip", "y/other"):
        (root / name).parent.mkdir(exist_ok=True)
        np.save(root / f"{name}.npy", motion(9))
    assert list(read(root)[0]) == ["x_clip", "y_clip", "y_other"]


@given(st.lists(st.from_regex(r"[ab_]{1,2}(/[ab_]{1,2})?\.(npy|csv)", fullmatch=True), min_size=1, unique=True))
def test_file_names_are_unique(files: list[str]) -> None:
    names = file_names(files)
    assert list(names) == files
    assert len(set(names.values())) == len(files)


def test_a_recording_never_has_the_name_of_a_clip_of_another_file(tmp_path: Path) -> None:
    lines = rows(
        "clips/walk.npy,0,,0,5", "clips/walk.npy,0,,5,9", "clips/b.npy,0,walk,,", header="file,label,name,start,end"
    )
    root = folder(tmp_path, lines, walk=motion(9), b=motion(9))
    entries = FolderSource([root]).survey(keep_missing=False).entries
    assert [(entry.name, entry.file.name) for entry in entries] == [("clips/walk.npy", "walk.npy"), ("walk", "b.npy")]
    assert list(read(root)[0]) == ["walk_0-5", "walk_5-9", "walk"]


@pytest.mark.parametrize(
    ("header", "line", "message"),
    [
        ("file,label", "clips/gone.npy,0", "clips/gone.npy: there is no such file"),
        ("file,label", "clips,0", "file 'clips' is none of .npy, .npz"),
        ("file,label", "clips/good.txt,0", "file 'clips/good.txt' is none of .npy, .npz, .h5, .hdf5, .csv"),
        ("file,label", ",0", "names no file"),
        ("file,label", "../outside.npy,0", "file '../outside.npy' is outside the folder"),
        ("file,label", "clips/../../outside.npy,0", "is outside the folder"),
        ("file,label", "/etc/outside.npy,0", "is outside the folder"),
        ("file,label", "C:\\outside.npy,0", "is outside the folder"),
        ("file,label", "clips/other.npy,jump", "label 'jump' is neither the number of a class, from 0, nor its name"),
        ("file,label", "clips/other.npy,-1", "label '-1' is neither the number of a class"),
        ("file,label", "clips/other.npy,0.5", "label '0.5' is neither"),
        ("file,label", "clips/other.npy,0,1", "3 fields, the first line has 2"),
        ("file,label", "clips/other.npy", "1 fields, the first line has 2"),
        ("file,label,name", "clips/other.npy,0,good", "has the name good of line 2"),
        ("file,label,start,end", "clips/other.npy,0,x,", "start 'x' is not the number of a frame"),
        ("file,label,start,end", "clips/other.npy,0,,-3", "end '-3' is not the number of a frame"),
        (
            "file,label,start,end",
            "clips/other.npy,0,5,2",
            "start 5, end 2, counted 0-exclusive: the end comes before the start",
        ),
        ("file,label,start,end", "clips/other.npy,0,5,5", "start 5, end 5, .* the end comes before the start"),
        (
            "file,label,start,end",
            "clips/other.npy,0,50,60",
            "start 50, end 60, .* the recording has none of these frames, only 9",
        ),
        ("file,label,start,end", "clips/other.npy,0,9,", "start 9, end None, .* none of these frames, only 9"),
        ("file,label,start,end", "clips/empty.npy,0,2,5", "start 2, end 5, .* nobody is seen in any frame"),
        ("file,label", "clips/empty.npy,0", "^nobody is seen in any frame"),
        ("file,label,key", "clips/other.npz::a,0,b", "names two arrays, 'a' after :: and 'b' as its key"),
    ],
)
def test_an_unusable_row_is_refused_with_its_line_and_the_others_are_read(
    tmp_path: Path, header: str, line: str, message: str
) -> None:
    np.save(tmp_path / "outside.npy", motion(9))
    good = "clips/good.npy,0" + "," * (header.count(",") - 1)
    lines = rows(good, line, header=header)
    root = folder(tmp_path / "root", lines, good=motion(9), other=motion(9), empty=0 * motion(9))
    refusal = one_refused(root)
    assert refusal.file.name == "manifest.csv"
    assert refusal.line == 3
    assert re.search(message, refusal.reason)


@pytest.mark.parametrize("shape", [(9, V + 1, 3), (2, 9, V - 1, 3), (9, 3 * V + 3), (9, V - 2, 2)])
def test_a_clip_with_another_number_of_joints_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    root = folder(
        tmp_path, rows("clips/good.npy,0", "clips/bad.npy,0", header="file,label"), good=motion(9), bad=np.ones(shape)
    )
    refusal = one_refused(root)
    assert (refusal.name, refusal.file.name) == ("bad", "bad.npy")
    assert "but layout small-prmd has 9" in refusal.reason


def test_a_damaged_file_is_refused_with_its_name(tmp_path: Path) -> None:
    root = folder(tmp_path, rows("clips/good.npy,0", "clips/bad.npy,0", header="file,label"), good=motion(9))
    (root / "clips" / "bad.npy").write_bytes(b"\x93NUMPY")
    refusal = one_refused(root)
    assert (refusal.name, refusal.file.name) == ("bad", "bad.npy")


@pytest.mark.parametrize("label", ["3", "17"])
def test_a_class_without_a_name_is_refused(tmp_path: Path, label: str) -> None:
    root = folder(tmp_path, rows("clips/good.npy,0", f"clips/good.npy,{label}", header="file,label"))
    with pytest.raises(
        ConfigError, match=rf"manifest\.csv:3: label {label} has no name in .*skeleton\.toml; .*0 deep squat"
    ):
        FolderSource([root])


@pytest.mark.parametrize(
    ("labels", "classes", "numbers"),
    [
        (["2", "0", "2"], ("class 0", "class 1", "class 2"), [2, 0, 2]),
        (["wave", "bow", "wave"], ("bow", "wave"), [1, 0, 1]),
        (["A003", "2", "A001"], ("2", "A001", "A003"), [2, 0, 1]),
    ],
)
def test_without_names_labels_are_numbers_or_names_themselves(
    tmp_path: Path, labels: list[str], classes: tuple[str, ...], numbers: list[int]
) -> None:
    lines = [f"clips/{name}.npy,{label}" for name, label in zip("abc", labels, strict=True)]
    root = folder(tmp_path, rows(*lines, header="file,label"), NO_CLASSES, a=motion(9), b=motion(9), c=motion(9))
    assert FolderSource([root]).classes == classes
    assert [reading.labels.label for reading in read(root)[0].values()] == numbers


def test_labels_may_be_names_of_classes(tmp_path: Path) -> None:
    root = folder(tmp_path, rows("clips/good.npy,side lunge", header="file,label"), good=motion(9))
    assert read(root)[0]["good"].labels.label == 2


def test_classes_with_gaps_keep_their_numbers(tmp_path: Path) -> None:
    skeleton = SKELETON.replace('names = ["deep squat", "hurdle step", "side lunge"]', '1 = "wave"\n4 = "bow"')
    root = folder(tmp_path, rows("clips/good.npy,4", header="file,label"), skeleton, good=motion(9))
    assert FolderSource([root]).classes == ("", "wave", "", "", "bow")
    assert read(root)[0]["good"].labels.label == 4


def test_subject_names_are_numbered_and_stored(tmp_path: Path) -> None:
    skeleton = SKELETON + XSUB.replace("[1, 2]", '["eva", "nobody"]')
    lines = rows("clips/a.npy,0,eva,1", "clips/b.npy,0,adam,", "clips/c.npy,0,,2", header="file,label,subject,camera")
    root = folder(tmp_path, lines, skeleton, a=motion(9), b=motion(9), c=motion(9))
    source = FolderSource([root])
    assert source.columns == ("subject_name",)
    assert source.rules["xsub"]["train"] == {"subject": [2, "nobody"]}
    readings = read(root)[0]
    assert [(clip.labels.subject, clip.labels.camera, *clip.labels.extra) for clip in readings.values()] == [
        (2, 1, "eva"),
        (1, -1, "adam"),
        (-1, 2, ""),
    ]


def test_numbers_out_of_range_are_treated_as_names(tmp_path: Path) -> None:
    lines = rows("clips/a.npy,0,20260101093000", "clips/b.npy,0,-7", header="file,label,setup")
    readings = read(folder(tmp_path, lines, a=motion(9), b=motion(9)))[0]
    assert [(clip.labels.setup, *clip.labels.extra) for clip in readings.values()] == [(2, "20260101093000"), (1, "-7")]


@pytest.mark.parametrize(
    ("train", "values"),
    [
        ("{ correct = 1 }", {"correct": ["1", "1.0"]}),
        ('{ correct = ["01"] }', {"correct": ["1", "1.0"]}),
        ("{ how = true }", {"how": ["TRUE", "True"]}),
        ('{ how = ["no", "never"] }', {"how": ["never", "no"]}),
        ('{ label = ["hurdle step", 0] }', {"label": [0, 1]}),
        ('{ name = "b" }', {"name": ["b"]}),
        ('{ file = "clips/b.npy", subject = [7] }', {"file": ["clips/b.npy"], "subject": [7]}),
        ("{ correct = 9 }", {"correct": [9]}),
    ],
)
def test_splits_may_use_any_column(tmp_path: Path, train: str, values: dict[str, list[object]]) -> None:
    skeleton = SKELETON + XSUB.replace("{ subject = [1, 2] }", f"{train}\ntest = {{ subject = [1] }}")
    lines = rows(
        "clips/a.npy,0,1,1,True", "clips/b.npy,hurdle step,7,1.0,TRUE", "clips/c.npy,1,3,0,no",
        header="file,label,subject,correct,how",
    )  # fmt: skip
    source = FolderSource([folder(tmp_path, lines, skeleton)])
    assert source.rules == {"xsub": {"train": values, "test": {"subject": [1]}}}
    assert source.columns == (*(["file"] if "file" in values else []), "correct", "how")


def test_a_split_by_a_missing_column_is_refused(tmp_path: Path) -> None:
    root = folder(tmp_path, rows("clips/a.npy,0", header="file,label"), SKELETON + XSUB)
    with pytest.raises(
        ConfigError, match=r"skeleton.toml: splits.xsub.train: .* no column 'subject'; it has file, label"
    ):
        FolderSource([root])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "its first line names no column file, but is ''"),
        ("name,label\na,0\n", "names no column file, but is 'name,label'"),
        ("file,label\n", "has no row below its header"),
        ("file,label,label\n", "has two columns called label"),
        ('file,label\n"a,0\n', "manifest.csv:2: cannot be read as CSV"),
    ],
)
def test_an_invalid_manifest_csv_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FolderSource([folder(tmp_path, text)])


def test_a_manifest_csv_in_another_encoding_is_refused(tmp_path: Path) -> None:
    root = folder(tmp_path, rows())
    (root / "manifest.csv").write_bytes("file,label\nclips/é.npy,0\n".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"manifest.csv: is not UTF-8 \(byte 17\)"):
        FolderSource([root])


def test_a_folder_without_both_files_is_refused(tmp_path: Path, small: Path) -> None:
    with pytest.raises(ArtifactNotFound, match="nowhere: no such file or folder"):
        FolderSource([tmp_path / "nowhere"])
    with pytest.raises(ConfigError, match="folder reads one folder at a time, found 2"):
        FolderSource([small, small])
    with pytest.raises(ConfigError, match=r"has no skeleton.toml and no manifest.csv; did you mean .*small\?"):
        FolderSource([small.parent])
    (small / "manifest.csv").unlink()
    with pytest.raises(ConfigError, match=r"small: has no manifest\.csv; docs/data/folder\.md"):
        FolderSource([small])


def test_a_layout_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    skeleton = SKELETON.replace('right_leg = ["right_leg"]\n', "")
    with pytest.raises(LayoutError, match="joint right_leg is in no part"):
        FolderSource([folder(tmp_path, rows("clips/a.npy,0,1,1,1,1"), skeleton)])


def test_the_example_in_the_documentation_works(tmp_path: Path) -> None:
    text = (Path(__file__).parents[3] / "docs" / "data" / "folder.md").read_text(encoding="utf-8")
    skeleton, manifest = (re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL)[0] for kind in ("toml", "csv"))
    root = folder(tmp_path, manifest, skeleton)
    V = len(FolderSource([root]).layout.joints)
    for name in ("ann_1", "bob_1"):
        np.save(root / "clips" / f"{name}.npy", 100 * np.random.default_rng(0).normal(size=(90, V, 3)))
    with h5py.File(root / "clips" / "long.h5", "w") as file:
        file["xyz"] = 100 * np.random.default_rng(0).normal(size=(900, V, 3))
    readings, refusals = read(root)
    assert not refusals
    assert list(readings) == ["ann_1", "bob_1", "long_120-210", "long_300-420"]
    assert [clip.labels.label for clip in readings.values()] == [0, 1, 0, 1]


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("chosen", ["clean", "skelemixclr"])
@pytest.mark.parametrize("joint", [0, 1])
def test_recordings_centred_on_a_joint_can_be_used(tmp_path: Path, chosen: str, joint: int) -> None:
    xyz = motion(30)
    root = folder(tmp_path / "raw", rows("clips/good.npy,0,1,1,1,9"), good=xyz - xyz[:, joint : joint + 1])
    report, store = store_of(root, tmp_path / "out.zarr", chosen)
    assert (report.clips, report.quarantined) == (1, [])
    assert np.isfinite(store.clip(0)).all()
    assert store.columns["quality_joints_missing"].tolist() == [0]


def store_of(root: Path, output: Path, chosen: str = "clean") -> tuple[IngestResult, Store]:
    asked = IngestRequest(dataset="folder", roots=(root,), output=output, recipe=load_recipe(chosen), workers=1)
    return ingest(asked), Store(output)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """`folder` is a data set that ingest can open."""
    monkeypatch.setattr(registry, "SOURCES", {**registry.SOURCES, "folder": FolderSource})


@pytest.mark.usefixtures("known")
def test_a_folder_becomes_a_store_with_its_splits(small: Path, tmp_path: Path) -> None:
    with (small / "manifest.csv").open("a") as manifest:
        manifest.write("clips/gone.npy,0,1,1,1,9\n")
    report, store = store_of(small, tmp_path / "out" / "small.zarr")
    assert report.clips == 12
    (bad,) = report.quarantined
    assert (bad["name"], Path(bad["file"]).name, bad["line"]) == ("gone", "manifest.csv", 14)
    assert store.names == sorted(store.names)
    assert store.layout == FolderSource([small]).layout
    assert store.columns["subject"].tolist() == [1, 2, 3, 4] * 3
    assert store.extra["correct"].tolist() == ["1", "0"] * 6
    (split,) = build_splits(store).splits
    assert (split.name, split.train.tolist()) == ("xsub", [0, 1, 4, 5, 8, 9])
    report, _ = store_of(small, tmp_path / "out" / "small.zarr")
    assert report.outcome == "up to date"


@pytest.mark.usefixtures("known")
def test_a_store_does_not_depend_on_the_path_of_the_folder(small: Path, tmp_path: Path) -> None:
    shutil.copytree(small, tmp_path / "deep" / "down" / "again")
    _, here = store_of(small, tmp_path / "here" / "same.zarr")
    _, there = store_of(tmp_path / "deep" / "down" / "again", tmp_path / "there" / "same.zarr")
    assert here.digest == there.digest


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(("chosen", "step"), [("agcn", "centre_on_first"), ("ctrgcn", "origin_at_start")])
def test_a_recipe_that_needs_other_joints_is_refused(small: Path, tmp_path: Path, chosen: str, step: str) -> None:
    message = f"recipe {chosen}, step {step}: layout .* has no joint 'spine_mid'; it has .*; name joints of this layout"
    with pytest.raises(RecipeError, match=message):
        store_of(small, tmp_path / "out.zarr", chosen)


@pytest.mark.usefixtures("known")
def test_a_folder_without_usable_clips_is_refused(tmp_path: Path) -> None:
    root = folder(tmp_path / "raw", rows("clips/bad.npy,0,1,1,1,9"), bad=np.ones((9, 25, 3)))
    with pytest.raises(SkelepipeError, match=r"no usable recording.* 25 joints, but layout small-prmd has 9"):
        store_of(root, tmp_path / "out.zarr")


@pytest.mark.parametrize(("header", "message"), [
    (f"file,label,{'x' * 200_000}", "its first line cannot be read as CSV: field larger than field limit"),
])  # fmt: skip
def test_an_invalid_csv_header_is_refused(tmp_path: Path, header: str, message: str) -> None:
    root = folder(tmp_path, rows("a.npy,0,x", header=header), a=motion(9))
    with pytest.raises(ConfigError, match=rf"manifest\.csv: {message}"):
        read(root)


def test_carriage_returns_as_line_ends_are_read(tmp_path: Path) -> None:
    root = folder(tmp_path, rows("clips/a.npy,0", header="file,label"), a=motion(9))
    path = root / "manifest.csv"
    path.write_bytes(path.read_bytes().replace(b"\r", b"").replace(b"\n", b"\r"))
    assert len(read(root)[0]) == 1


def test_a_clip_that_becomes_too_long_does_not_lose_the_others(tmp_path: Path) -> None:
    lines = ["file,label,start,end,name"]
    lines += [f"clips/a.npy,0,{rest}" for rest in ("1,100,one", ",,whole", "200,300,two")]
    root = folder(tmp_path, lines, a=np.ones((200_000, V, 3), np.float32))
    text = (root / "skeleton.toml").read_text()
    (root / "skeleton.toml").write_text(text.replace("frames_per_second = 30", "frames_per_second = 1"))
    readings, refusals = read(root)
    assert sorted(readings) == ["one", "two"]
    assert "6000000 frames at 30 per second, too many" in refusals["whole"].reason


@pytest.mark.parametrize(
    ("rate", "frames", "note"),
    [
        ("frames_per_second = 60", [20, 10], "recordings at 60 frames per second, resampled to 30"),
        ("frames_per_second = 30", [40, 20], "recordings at 30 frames per second"),
        ("", [40, 20], "skeleton.toml has no frames_per_second: 30 are assumed"),
    ],
)
def test_recordings_of_another_frame_rate_are_resampled(
    tmp_path: Path, rate: str, frames: list[int], note: str
) -> None:
    lines = ["file,label,start,end", "clips/a.npy,0,,", "clips/b.npy,0,10,30"]
    root = folder(tmp_path, lines, a=motion(40), b=motion(40))
    text = (root / "skeleton.toml").read_text()
    (root / "skeleton.toml").write_text(text.replace("frames_per_second = 30", rate))
    readings, refusals = read(root)
    assert not refusals
    assert [reading.recording.frames for reading in readings.values()] == frames
    assert FolderSource([root]).survey(keep_missing=False).notes == (note,)
    request = IngestRequest(dataset="folder", roots=(root,), output=tmp_path / "s.zarr", recipe=load_recipe("none"))
    assert ingest(request).notes == (note,)
    store = Store(tmp_path / "s.zarr")
    assert store.columns["frames"].tolist() == frames
    assert store.attributes["frames_per_second"] == (int(rate[-2:]) if rate else None)


COMPOSED, DECOMPOSED = "Jos\u00e9", "Jose\u0301"


def test_a_subject_in_two_unicode_forms_is_one_subject(tmp_path: Path) -> None:
    lines = [
        "file,label,subject,jour",
        f"clips/a.npy,0,{COMPOSED},{COMPOSED}",
        f"clips/b.npy,0,{DECOMPOSED},{DECOMPOSED}",
    ]
    skeleton = SKELETON + f'[splits.xsub]\ntrain = {{ subject = ["{DECOMPOSED}"] }}\n'
    root = folder(tmp_path, lines, skeleton, a=motion(9), b=motion(9))
    readings, refusals = read(root)
    assert not refusals
    assert {reading.labels.subject for reading in readings.values()} == {1}
    assert {reading.labels.extra for reading in readings.values()} == {(COMPOSED, COMPOSED)}
    assert FolderSource([root]).rules["xsub"]["train"] == {"subject": [1]}


@pytest.mark.parametrize(("written", "stored"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)])
def test_a_file_is_found_in_the_other_unicode_form(tmp_path: Path, written: str, stored: str) -> None:
    root = folder(tmp_path, ["file,label", f"clips/{written}.npy,0"], **{stored: motion(9)})
    assert list(read(root)[0]) == [COMPOSED]


def test_two_clips_whose_names_differ_only_in_their_unicode_form_are_duplicates(tmp_path: Path) -> None:
    lines = ["file,label,name", f"clips/a.npy,0,{COMPOSED}", f"clips/b.npy,0,{DECOMPOSED}"]
    refused = read(folder(tmp_path, lines, a=motion(9), b=motion(9)))[1]
    assert f"has the name {COMPOSED} of line 2" in next(iter(refused.values())).reason
