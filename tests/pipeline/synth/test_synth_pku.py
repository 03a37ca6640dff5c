"""A synthetic PKU-MMD is complete, exact in its grammar, and as usable as its summary says."""

import itertools
import re
from collections import Counter
from typing import get_args

import numpy as np
import pytest

from pipeline.errors import ConfigError, OutputExists, OutputFailed, RawFileError
from pipeline.skeleton.segments import FrameIndex
from pipeline.sources.pku.names import DATA_SETS, INTERACTIONS, PkuName
from pipeline.sources.pku.source import PkuSource
from pipeline.sources.source import Refusal
from pipeline.store import split_file
from pipeline.synth import pku as synth_pku
from pipeline.synth.pku import FOLDERS, plan, write_pku
from pipeline.synth.pku_damage import LABELLING, ROWS, TEXTS
from pipeline.synth.synth import write
from pipeline.synth.text_kernels import FIXED_BYTES, write_fixed_rows

CLIPS = 72
BROKEN = 2 * (len(TEXTS) + len(LABELLING))
_NUMBER = re.compile(rb"-?(0|[1-9][0-9]*)\.[0-9]{6}")


@pytest.fixture(scope="module", params=["pku1", "pku2"])
def made(request, tmp_path_factory):
    """The data set's facts, its folder, and the summary."""
    out = tmp_path_factory.mktemp("synth") / request.param
    return DATA_SETS[request.param], out, write_pku(request.param, out, clips=CLIPS, seed=7, broken=BROKEN)


def read_all(facts, out, frame_index="0-exclusive"):
    """Good clips and refusals, by name."""
    source = PkuSource(facts.name, [out])
    good, refused = {}, {}
    for entry in source.survey(keep_missing=False).entries:
        try:
            for found in source.read(entry, frame_index):
                kind = refused if isinstance(found, Refusal) else good
                kind[found.name if isinstance(found, Refusal) else found.recording.name] = found
        except RawFileError as error:
            refused[entry.name] = error
    return good, refused


@pytest.fixture(scope="module")
def clips(made):
    facts, out, _ = made
    return read_all(facts, out)[0]


def test_all_good_clips_are_read_and_all_broken_ones_refused(made):
    facts, out, summary = made
    for frame_index in get_args(FrameIndex):
        good, refused = read_all(facts, out, frame_index)
        assert len(good) == CLIPS
        assert refused.keys() == summary.broken.keys()
    assert Counter(summary.broken.values()).keys() == TEXTS.keys() | LABELLING.keys() | ROWS.keys()
    assert len(summary.broken) == BROKEN


def test_the_summary_says_what_is_there(made, clips):
    facts, out, summary = made
    files = [path for path in out.rglob("*") if path.is_file()]
    assert summary.bytes == sum(path.stat().st_size for path in files)
    assert summary.files == len(list((out / FOLDERS[facts.name][0]).iterdir()))
    assert summary.classes == tuple(sorted({clip.labels.label for clip in clips.values()}))
    assert len(summary.classes) == 3
    assert summary.performers == tuple(sorted({clip.labels.subject for clip in clips.values()} - {-1}))


def test_rows_are_written_as_the_data_set_writes_them(made):
    facts, out, summary = made
    good = [path for path in sorted((out / FOLDERS[facts.name][0]).iterdir()) if path.stem not in summary.broken]
    for path in good[:4]:
        text = path.read_bytes()
        assert text.endswith(b"\n")
        first, *others = text[:-1].split(b"\n")
        assert not first.startswith(b" ")
        assert all(row.startswith(b" ") for row in others)
        for row in (first, *(other[1:] for other in others)):
            fields = row.split(b" ")
            assert len(fields) == 150
            assert all(map(_NUMBER.fullmatch, fields))


def test_clips_look_like_people(made, clips):
    for clip in clips.values():
        xyz = clip.recording.xyz[clip.recording.slot == 0]
        assert 40 <= clip.recording.frames <= 170  # two actions where intervals overlap
        assert clip.step_counts["frames_beyond"] == 0
        assert 0.9 < np.median(np.ptp(xyz[..., 1], axis=1)) < 2.2
        assert 2.0 < np.median(xyz[..., 2]) < 5.0


def test_a_second_person_is_there_when_the_class_is_for_two(made, clips):
    facts, _, _ = made
    between_two = 0
    for clip in clips.values():
        slots = clip.recording.slot.tolist()
        if clip.labels.label + 1 in INTERACTIONS:
            between_two += 1
            assert slots.count(1) > 0.8 * clip.recording.frames
            one, two = (clip.recording.xyz[clip.recording.slot == slot].mean(axis=(0, 1)) for slot in (0, 1))
            assert 0.3 < np.linalg.norm(one - two) < 2.5
        else:
            assert slots.count(1) < 20  # the end of an overlapping interval
    assert (between_two > 0) == (facts.name == "pku1")


def test_views_of_a_take_show_the_same_out_of_step(made, clips):
    takes = {}
    for clip in clips.values():
        name = PkuName.parse(clip.recording.name.partition("_")[0])
        takes.setdefault((name.setup, name.subject), {}).setdefault(name.camera, []).append(clip)
    pair = next(iter(takes.values()))
    assert len(pair) == 3
    actions = [[clip.labels.label for clip in view] for view in pair.values()]
    assert all(one == actions[0][: len(one)] for one in actions)
    assert len({tuple(clip.start for clip in view[1:3]) for view in pair.values()}) == 3


def test_the_awkward_cases_are_there(made):
    facts, out, summary = made
    files = {path.stem: path.read_text().split() for path in (out / FOLDERS[facts.name][1]).iterdir()}
    good = {
        name: [
            tuple(map(int, row.split(",")))
            for at, row in enumerate(rows, 1)
            if f"{name}_{at:03d}" not in summary.broken
        ]
        for name, rows in files.items()
        if name not in summary.broken
    }
    assert any(len(rows) == 1 for rows in good.values())
    assert any(one[2] > two[1] for rows in good.values() for one, two in itertools.pairwise(rows))
    assert (min(row[1] for rows in good.values() for row in rows) == 0) == (facts.name == "pku2")
    assert {row[3] for rows in good.values() for row in rows} == {1, 2}


def test_split_lists_are_as_shipped_and_agree_with_the_rules(made):
    facts, out, _ = made
    videos = {path.stem for path in (out / FOLDERS[facts.name][0]).iterdir()}
    texts = []
    for place, rule in zip(FOLDERS[facts.name][2:], ("xsub", "xview"), strict=True):
        texts.append((out / place).read_bytes())
        assert texts[-1].startswith(b"Training videos: ")
        assert b"Validataion videos: " in texts[-1]
        lists = split_file.read_split_file(out / place)
        assert {*lists.train, *lists.test} == videos
        column, train, test = facts.rules[rule]
        assert all(getattr(PkuName.parse(name), column) in train for name in lists.train)
        assert all(getattr(PkuName.parse(name), column) in test for name in lists.test)
    assert [b"\r\n" in text for text in texts] == [False, True]
    assert all(b", \n" in text.replace(b"\r", b"") for text in texts)


@pytest.mark.parametrize("dataset", ["pku1", "pku2"])
@pytest.mark.parametrize("clips", [1, 4, 5, 8, 48, 49, 240, 1000])
def test_a_plan_has_as_many_clips_as_asked_on_all_sides_of_both_splits(dataset, clips):
    facts = DATA_SETS[dataset]
    videos = plan(facts, clips)
    assert sum(video.labelled for video in videos) == clips
    names = [str(video.name) for video in videos]
    assert len(set(names)) == len(names)
    assert {*names} <= {str(name) for name in facts.released()}
    assert max(video.labelled for video in videos) <= facts.actions
    if clips >= 4:
        for column, _, test in facts.rules.values():
            assert {getattr(video.name, column) in test for video in videos} == {True, False}
    shown = {action for video in videos for action in video.take[: video.labelled]}
    limit = 51 if dataset == "pku1" else 41
    assert len(shown) == (min(limit, max(2, -(-clips // 24))) if clips >= 7 else 1)


@pytest.mark.parametrize("dataset", ["pku1", "pku2"])
def test_broken_names_stay_clear_of_the_fullest_set(dataset):
    facts = DATA_SETS[dataset]
    with pytest.raises(ConfigError) as refused:
        plan(facts, 10**6)
    fullest = int(re.search(r"to (\d+)", str(refused.value)).group(1))
    good = {video.name for video in plan(facts, fullest)}
    damaged = {video.name for video, _ in synth_pku._plan_damage(facts, synth_pku.MAX_BROKEN)}
    assert len(damaged) == synth_pku.MAX_BROKEN // 2
    assert not good & damaged


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_same_seed_same_bytes_and_another_seed_other_bytes(tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        write("pku2", tmp_path / name, clips=8, seed=seed, broken=2)
    a, b, c = (contents(tmp_path / name) for name in "abc")
    assert a == b
    assert a.keys() == c.keys()
    assert all(a[name] != c[name] for name in a if name.startswith("Skeleton"))


@pytest.mark.parametrize("numbers", [
    {"clips": 0, "seed": 0}, {"clips": 1, "seed": -1}, {"clips": 1, "seed": 0, "broken": -1},
    {"clips": 1, "seed": 0, "broken": 301},
])  # fmt: skip
def test_impossible_numbers_are_refused(tmp_path, numbers):
    with pytest.raises(ConfigError):
        write_pku("pku1", tmp_path / "raw", **numbers)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_files_is_left_alone_and_an_interrupted_run_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("keep")
    with pytest.raises(OutputExists):
        write_pku("pku1", tmp_path / "mine", clips=1, seed=0)

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(synth_pku, "_video", fail)
    with pytest.raises(OutputFailed, match="No space"):
        write_pku("pku1", tmp_path / "new", clips=1, seed=0)
    assert contents(tmp_path) == {"mine/file": b"keep", ".mine.lock": b"", ".new.lock": b""}


@pytest.mark.kernels
def test_fixed_numbers_are_pythons():
    rng = np.random.default_rng(0)
    drawn = (rng.normal(size=(20, 150)) * 10.0 ** rng.integers(-7, 3, (20, 150))).clip(-999, 999).astype(np.float32)
    drawn[0, :8] = [0, 1, -1, 0.0000005, 9.9999995, 10, 99.99999, 100]
    out = np.empty(drawn.size * FIXED_BYTES + len(drawn), np.uint8)
    want = "\n ".join(" ".join(f"{x:.6f}" for x in row) for row in drawn.tolist()) + "\n"
    assert out[: write_fixed_rows(drawn, out)].tobytes().decode() == want
