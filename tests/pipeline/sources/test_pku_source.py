"""The PKU-MMD source: files found by name, parsed once, cut by labels, clips named by video and line."""

import zipfile
import zlib
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from pipeline.errors import ArtifactNotFound, ConfigError, RawFileError, SkelepipeError
from pipeline.files import raw_files
from pipeline.skeleton.segments import FrameIndex
from pipeline.sources.pku import names as pku_names
from pipeline.sources.pku import parser as pku_parser
from pipeline.sources.pku import source as pku_source
from pipeline.sources.pku.names import CLASSES, INTERACTIONS, PKU1, PKU2, PkuName
from pipeline.sources.pku.source import PkuSource
from pipeline.sources.source import Refusal, combined_crc32

SKELETONS, LABELS = "PKU_Skeleton_Renew", "Train_Label_PKU_final"
DOCS = Path(__file__).parents[3] / "docs" / "data" / "pku.md"


def numbers(frames, seed=0):
    """Return (T, 150) with one person; the second body is absent."""
    drawn = np.random.default_rng(seed).normal(0, 1, (frames, 150)).round(6)
    drawn[:, 75:] = 0
    return drawn


def text_of(rows):
    return "\n ".join(" ".join(f"{x:.6f}" for x in row) for row in rows).encode() + b"\n"


def put(root, name, rows, labels, skeletons=SKELETONS, label_folder=LABELS):
    for folder, content in (
        (skeletons, text_of(rows) if isinstance(rows, np.ndarray) else rows),
        (label_folder, labels),
    ):
        if content is not None:
            (root / folder).mkdir(parents=True, exist_ok=True)
            (root / folder / f"{name}.txt").write_bytes(content)


def read_all(root, dataset="pku1", frame_index="0-exclusive"):
    """Return all clips and refusals of the data set below `root`, by name."""
    source = PkuSource(dataset, [root])
    entries = source.survey(keep_missing=False).entries
    found = [clip for entry in entries for clip in source.read(entry, frame_index)]
    names = [clip.name if isinstance(clip, Refusal) else clip.recording.name for clip in found]
    assert len(set(names)) == len(names)
    return dict(zip(names, found, strict=True))


# --- names ---


def test_names_have_take_or_script_and_subject_and_camera():
    assert PkuName.parse("0291-M") == PkuName(291, -1, 2)
    assert PkuName.parse("A12N03-R") == PkuName(12, 3, 3)
    for text in ("0002-L", "A01N01-R", "0364-M"):
        assert str(PkuName.parse(text)) == text
    assert PkuName.parse("a01n01-l") == PkuName(1, 1, 1)
    for text in ("002-L", "0002-X", "0002L", "0002-L.txt", "A1N01-L", "S001C001P001R001A001", "٠٠٠٢-L", ""):
        assert PkuName.parse(text) is None


def test_the_phases_have_their_published_sizes():
    takes = list(PKU1.released())
    assert len(takes) - 1 == 1076
    assert len(list(PKU2.released())) == 1009
    for facts in (PKU1, PKU2):
        names = [str(name) for name in facts.released()]
        assert names == sorted(set(names))
        assert all(facts.contains(name) for name in facts.released())
    assert not PKU1.contains(PkuName(1, 1, 1))
    assert not PKU2.contains(PkuName(2, -1, 1))
    views = [name.camera for name in PKU2.released()]
    assert [views.count(camera) for camera in (1, 2, 3)] == [338, 333, 338]


def test_the_rules_divide_the_videos_as_published():
    for facts, test_videos in ((PKU1, 132), (PKU2, 234)):
        column, train, test = facts.rules["xsub"]
        assert not train & test
        sides = [getattr(name, column) in test for name in facts.released()]
        assert sum(sides) == test_videos
        assert all(getattr(name, column) in train | test for name in facts.released())
    assert PKU1.rules["xview"] == ("camera", {2, 3}, {1})


def test_there_are_51_classes_ten_of_them_with_two_people():
    assert len(set(CLASSES)) == 51
    assert len(INTERACTIONS) == 10
    assert CLASSES[13] == "shake hands"


# --- survey ---


@pytest.mark.parametrize(("dataset", "name"), [("pku1", "0002-L"), ("pku2", "A01N01-L")])
def test_recordings_and_labels_are_paired_by_name_in_any_folders(tmp_path, dataset, name):
    put(tmp_path, name, numbers(20), b"7,3,9,2\n", "deep/down/here", "elsewhere")
    (entry,) = PkuSource(dataset, [tmp_path]).survey(keep_missing=False).entries
    assert entry.name == name
    assert entry.file.path == tmp_path / "deep/down/here" / f"{name}.txt"
    assert entry.companions[0].path == tmp_path / "elsewhere" / f"{name}.txt"
    assert entry.size == sum(path.stat().st_size for path in tmp_path.rglob("*.txt"))


def test_suffixes_of_the_readme_in_one_folder(tmp_path):
    (tmp_path / "0002-L.skeleton").write_bytes(text_of(numbers(20)))
    (tmp_path / "0002-L.label").write_bytes(b"7,3,9,2\n")
    assert list(read_all(tmp_path)) == ["0002-L_001"]


def test_the_two_folders_may_be_two_roots(tmp_path):
    put(tmp_path, "0002-L", numbers(20), b"7,3,9,2\n")
    source = PkuSource("pku1", [tmp_path / LABELS, tmp_path / SKELETONS])
    (entry,) = source.survey(keep_missing=False).entries
    assert entry.companions[0].path.parent.name == LABELS


def test_upper_and_lower_case_names_are_the_same_video(tmp_path):
    put(tmp_path, "a01n01-l", numbers(20), b"7,3,9,2\n")
    (tmp_path / SKELETONS / "a01n01-l.txt").rename(tmp_path / SKELETONS / "A01N01-L.TXT")
    assert list(read_all(tmp_path, "pku2")) == ["A01N01-L_001"]


def test_zips_are_read_in_place_and_give_the_same(tmp_path):
    put(tmp_path / "loose", "0002-L", numbers(30), b"7,3,9,2\n8,10,20,1\n")
    put(tmp_path / "loose", "0003-M", numbers(30, 1), b"9,3,9,2\n")
    with zipfile.ZipFile(tmp_path / "both.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((tmp_path / "loose").rglob("*.txt")):
            archive.write(path, path.relative_to(tmp_path / "loose"))
    loose, zipped = read_all(tmp_path / "loose"), read_all(tmp_path / "both.zip")
    assert list(loose) == list(zipped) == ["0002-L_001", "0002-L_002", "0003-M_001"]
    for name, one in loose.items():
        assert one.recording.xyz.tobytes() == zipped[name].recording.xyz.tobytes()
        assert (one.labels, one.crc32, one.start) == (zipped[name].labels, zipped[name].crc32, zipped[name].start)


def test_other_files_are_skipped_and_counted(tmp_path):
    put(tmp_path, "0002-L", numbers(20), b"7,3,9,2\n")
    put(tmp_path, "A01N01-L", numbers(20), b"7,3,9,2\n")
    put(tmp_path, "0003-L", None, b"7,3,9,2\n")
    put(tmp_path, "cross-subject", b"Training videos: \n0002-L\n", None, "Split")
    (tmp_path / "Actions.xlsx").touch()
    (tmp_path / "Skeleton.7z").touch()
    left_out = PkuSource("pku1", [tmp_path]).survey(keep_missing=False).left_out
    assert left_out == {
        "of the other phase": 2,
        "labels without a recording": 1,
        "not named like 0002-L.txt, first cross-subject.txt": 1,
        "neither .txt nor .skeleton nor .label": 1,
        "archives, unpack them first": 1,
    }


def test_absent_videos_are_counted_by_camera(tmp_path):
    put(tmp_path, "0060-M", numbers(20), b"7,3,9,2\n")
    assert PkuSource("pku1", [tmp_path]).survey(keep_missing=False).absent == {
        "view L": 358,
        "view M": 358,
        "view R": 359,
    }
    put(tmp_path, "A01N01-M", numbers(20), b"7,3,9,2\n")
    assert PkuSource("pku2", [tmp_path]).survey(keep_missing=False).absent == {
        "view L": 338,
        "view M": 332,
        "view R": 338,
    }


@pytest.mark.parametrize(("folder", "what"), [("copy/Skeleton", "recording"), ("copy/Labels", "labels")])
def test_a_file_found_twice_is_refused_with_both_paths(tmp_path, folder, what):
    put(tmp_path, "0002-L", numbers(20), b"7,3,9,2\n")
    duplicate = text_of(numbers(20)) if what == "recording" else b"7,3,9,2\n"
    put(tmp_path, "0002-L", duplicate, None, folder)
    with pytest.raises(SkelepipeError, match=f"0002-L: {what} found twice") as refused:
        PkuSource("pku1", [tmp_path]).survey(keep_missing=False)
    assert str(tmp_path / folder / "0002-L.txt") in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"<html>no</html>\n", b"21", b"8 0 20 2\n34 10 40 1\n"])
def test_an_unrecognisable_file_is_classified_by_its_folder(tmp_path, content):
    put(tmp_path, "0002-L", content, b"7,3,9,2\n")
    put(tmp_path, "0003-L", numbers(20), content)
    entries = PkuSource("pku1", [tmp_path]).survey(keep_missing=False).entries
    assert [(entry.file.folder, entry.companions[0].folder) for entry in entries] == [(SKELETONS, LABELS)] * 2


def test_missing_recordings_labels_folders_and_phases_are_refused(tmp_path):
    put(tmp_path, "0002-L", numbers(20), None)
    with pytest.raises(SkelepipeError, match="1 recordings but no label file; unpack the archive of the labels, too"):
        PkuSource("pku1", [tmp_path]).survey(keep_missing=False)
    with pytest.raises(SkelepipeError, match=r"no pku2 recording there \(of the other phase: 1\); expected .*A01N01-L"):
        PkuSource("pku2", [tmp_path]).survey(keep_missing=False)
    with pytest.raises(ArtifactNotFound):
        PkuSource("pku2", [tmp_path / "nowhere"]).survey(keep_missing=False)
    with pytest.raises(ConfigError, match="known: pku1, pku2"):
        PkuSource("pku3", [tmp_path])


# --- read ---


def test_each_video_is_parsed_once_for_all_its_clips(tmp_path, monkeypatch):
    for number in (2, 3):
        put(
            tmp_path,
            f"{number:04d}-L",
            numbers(400),
            b"".join(b"7,%d,%d,2\n" % (at, at + 10) for at in range(0, 380, 12)),
        )
    parsed, opened = [], []
    parse, opening = pku_parser.parse, raw_files.open_file
    monkeypatch.setattr(
        pku_parser, "parse", lambda *args, **named: parsed.append(named["name"]) or parse(*args, **named)
    )
    source = PkuSource("pku1", [tmp_path])
    entries = source.survey(keep_missing=False).entries
    monkeypatch.setattr(raw_files, "open_file", lambda file: opened.append(file.path) or opening(file))
    clips = [clip for entry in entries for clip in source.read(entry, "0-exclusive")]
    assert len(clips) == 2 * 32
    assert parsed == ["0002-L", "0003-L"]
    assert len(opened) == len(set(opened)) == 4


def test_a_huge_label_file_is_refused_before_it_is_read(tmp_path, monkeypatch):
    put(tmp_path, "0002-L", numbers(50), b"21,3,9,2\n" * 20)
    monkeypatch.setattr(pku_source, "MAX_LABEL_BYTES", 179)
    found = read_all(tmp_path)
    assert list(found) == ["0002-L"]
    assert found["0002-L"].reason == "180 bytes, expected at most 179; is this a label file?"


def test_labels_keep_their_class_number_and_names_have_the_line(tmp_path):
    put(tmp_path, "0291-R", numbers(50), b"21,3,9,2\n\n51,10,20,1\n1,20,30\n")
    clips = read_all(tmp_path)
    assert list(clips) == ["0291-R_001", "0291-R_003", "0291-R_004"]
    labels = [clip.labels for clip in clips.values()]
    assert [one.label for one in labels] == [20, 50, 0]
    assert [one.extra for one in labels] == [("2",), ("1",), ("",)]
    assert {(one.setup, one.subject, one.camera, one.replication) for one in labels} == {(291, -1, 3, -1)}
    put(tmp_path, "A12N03-M", numbers(50), b"21,3,9,2\n")
    (clip,) = read_all(tmp_path, "pku2").values()
    assert (clip.labels.setup, clip.labels.subject, clip.labels.camera) == (12, 3, 2)


def test_classes_with_gaps_keep_their_numbers(tmp_path):
    daily = [action for action in range(1, 52) if action not in INTERACTIONS]
    put(tmp_path, "A01N01-L", numbers(90), b"".join(b"%d,%d,%d,2\n" % (action, action, action + 9) for action in daily))
    assert [clip.labels.label + 1 for clip in read_all(tmp_path, "pku2").values()] == daily


PLAIN = {  # what each convention's users write, with numpy's rows
    "0-exclusive": lambda rows, start, end: rows[start:end],
    "0-inclusive": lambda rows, start, end: rows[start : end + 1],
    "1-inclusive": lambda rows, start, end: rows[max(start - 1, 0) : end],
}


@pytest.mark.parametrize("frame_index", get_args(FrameIndex))
@pytest.mark.parametrize(("start", "end"), [(0, 7), (1, 7), (5, 20), (30, 39), (30, 40), (30, 45)])
def test_each_convention_gives_the_rows_that_plain_slicing_gives(tmp_path, frame_index, start, end):
    rows = numbers(40)
    put(tmp_path, "0002-L", rows, b"7,%d,%d,2\n" % (start, end))
    clip = read_all(tmp_path, frame_index=frame_index)["0002-L_001"]
    want = PLAIN[frame_index](rows, start, end)
    first = max(start - 1, 0) if frame_index == "1-inclusive" else start
    assert clip.recording.frames == len(want)
    assert clip.recording.frame.tolist() == list(range(len(want)))
    np.testing.assert_array_equal(clip.recording.xyz.reshape(-1, 75), want[:, :75].astype(np.float32))
    assert clip.start == first
    asked = end - start + (frame_index != "0-exclusive")
    assert clip.step_counts == {"frames_beyond": asked - len(want)}


def test_overlapping_intervals_each_get_all_their_frames(tmp_path):
    rows = numbers(60)
    put(tmp_path, "0002-L", rows, b"7,3,30,2\n8,20,50,2\n7,3,30,2\n")
    one, two, again = (clip.recording for clip in read_all(tmp_path).values())
    np.testing.assert_array_equal(one.xyz[17:].reshape(-1, 75), rows[20:30, :75].astype(np.float32))
    np.testing.assert_array_equal(two.xyz[:10], one.xyz[17:])
    assert again.xyz.tobytes() == one.xyz.tobytes()


def test_frames_without_a_body_are_counted_but_have_no_row(tmp_path):
    rows = numbers(30)
    rows[10:14] = 0
    rows[20, 75:] = 0.5
    put(tmp_path, "0002-L", rows, b"7,8,24,2\n")
    clip = read_all(tmp_path)["0002-L_001"].recording
    assert clip.frames == 16
    assert sorted(set(range(16)) - set(clip.frame.tolist())) == [2, 3, 4, 5]
    assert clip.slot.tolist().count(1) == 1


@pytest.mark.parametrize(("row", "says"), [
    (b"52,3,9,2", "action 52 does not exist"),
    (b"7,9,3,2", "frames 9 to 3, counted 0-exclusive: none"),
    (b"7,9,9,2", "frames 9 to 9, counted 0-exclusive: none"),
    (b"7,40,50,2", "the recording has none of them, only 40; is it truncated?"),
    (b"7,20,30,2", "nobody is seen in them"),
    (b"7,3", "row has 2 fields"),
])  # fmt: skip
def test_an_unusable_row_is_refused_with_its_line_and_the_others_are_read(tmp_path, row, says):
    rows = numbers(40)
    rows[18:32] = 0
    put(tmp_path, "0002-L", rows, b"21,0,9,2\r\n" + row + b"\r\n24,5,12,1\r\n")
    good, bad, after = read_all(tmp_path).values()
    assert isinstance(bad, Refusal)
    assert says in bad.reason
    assert (bad.name, bad.line, bad.file.path) == ("0002-L_002", 2, tmp_path / LABELS / "0002-L.txt")
    assert (good.labels.label, after.labels.label) == (20, 23)


def test_a_single_frame_is_a_clip_if_the_end_is_inclusive(tmp_path):
    put(tmp_path, "0002-L", numbers(20), b"7,9,9,2\n")
    for frame_index, frame in (("0-inclusive", 9), ("1-inclusive", 8)):
        clip = read_all(tmp_path, frame_index=frame_index)["0002-L_001"]
        assert (clip.recording.frames, clip.start) == (1, frame)


def test_a_recording_without_labels_is_refused_when_it_is_read(tmp_path):
    put(tmp_path, "0002-L", numbers(20), b"7,3,9,2\n")
    put(tmp_path, "0003-L", numbers(20), None)
    source = PkuSource("pku1", [tmp_path])
    _, alone = source.survey(keep_missing=False).entries
    with pytest.raises(RawFileError, match=r"0003-L\.txt: no label file of that name was found"):
        next(source.read(alone, "0-exclusive"))


def test_an_invalid_label_file_is_one_refusal_with_its_name(tmp_path):
    put(tmp_path, "0002-L", numbers(20), b"\n")
    put(tmp_path, "0003-L", numbers(20), b"7,3,9,2\n")
    (refused, _) = read_all(tmp_path).values()
    assert (refused.name, refused.file.folder, refused.line) == ("0002-L", LABELS, 0)
    assert "no action is labelled" in refused.reason


def test_a_damaged_video_is_refused_with_its_line(tmp_path):
    put(tmp_path, "0002-L", text_of(numbers(20))[:-400], b"7,3,9,2\n")
    with pytest.raises(RawFileError, match=r"PKU_Skeleton_Renew/0002-L\.txt:20: row has \d+ fields, expected 150"):
        read_all(tmp_path)


def test_the_checksum_is_over_the_recording_and_its_labels(tmp_path):
    put(tmp_path, "0002-L", numbers(20), b"7,3,9,2\n8,3,9,2\n")
    clips = read_all(tmp_path).values()
    crcs = [zlib.crc32((tmp_path / folder / "0002-L.txt").read_bytes()) for folder in (SKELETONS, LABELS)]
    assert {clip.crc32 for clip in clips} == {combined_crc32(crcs)}


def test_the_attributes_of_the_source():
    source = PkuSource("pku2", [])
    assert (source.name, source.classes, source.columns, source.shared, source.rules) == (
        "pku2", CLASSES, ("confidence",), "", {},
    )  # fmt: skip
    assert source.layout.name == "kinect-v2"
    assert {".txt", ".skeleton", ".label"} == pku_source.SUFFIXES


def test_the_manual_names_the_suffixes_and_videos_of_the_code():
    text = DOCS.read_text(encoding="utf-8")
    for convention in get_args(FrameIndex):
        assert f"`{convention}`" in text
    for name in pku_names.PKU2.never_released:
        assert name in text
