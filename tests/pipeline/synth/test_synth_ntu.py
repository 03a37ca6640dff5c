import itertools
import re
from collections import Counter

import numpy as np
import pytest

from pipeline.errors import ConfigError, OutputExists, OutputFailed
from pipeline.skeleton.layout import KINECT_V2
from pipeline.sources.ntu.names import NTU60, NTU120, TWO_PERSON, XVIEW_TRAIN, NtuName, is_xset_train, missing_names
from pipeline.sources.ntu.parser import parse
from pipeline.sources.text_buffer import PADDING
from pipeline.synth import ntu as synth_ntu
from pipeline.synth.motion import draw_person, perform
from pipeline.synth.ntu import BLOCK, plan, plan_broken, write_ntu
from pipeline.synth.ntu_damage import DAMAGE, damage
from pipeline.synth.roles import roles
from pipeline.synth.sensor import SensorBody, skeleton_text
from pipeline.synth.text_kernels import ROW_BYTES, write_joint_rows

CLIPS = 240

_COUNT = re.compile(rb"0|[1-9][0-9]*")
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]*[1-9])?(?:E-[0-9]{2})?")


class BadFileError(Exception):
    pass


def read_strictly(text):
    """A slow, independent reader: per frame a list of (id, 25 rows of 12 floats). Raises BadFileError."""
    if not text.endswith(b"\r\n"):
        raise BadFileError("no final line end")
    lines = iter(text[:-2].split(b"\r\n"))

    def line():
        try:
            return next(lines)
        except StopIteration:
            raise BadFileError("ends early") from None

    def count():
        found = line()
        if not _COUNT.fullmatch(found):
            raise BadFileError(f"not a count: {found[:40]!r}")
        return int(found)

    def fields(number):
        found = line().split(b" ")
        if len(found) != number or not all(map(_NUMBER.fullmatch, found)):
            raise BadFileError(f"not {number} numbers: {found[:12]}")
        return found

    frames = []
    for _ in range(count()):
        bodies = []
        for _ in range(count()):
            head = fields(10)
            if not 2**56 < int(head[0]) < 2**63:
                raise BadFileError("body id")
            if count() != 25:
                raise BadFileError("joints")
            rows = [fields(12) for _ in range(25)]
            if any(row[11] not in (b"0", b"1", b"2") for row in rows):
                raise BadFileError("tracking state")
            bodies.append((int(head[0]), [list(map(float, row)) for row in rows]))
        frames.append(bodies)
    if next(lines, None) is not None:
        raise BadFileError("surplus lines")
    return frames


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("synth") / "raw"


@pytest.fixture(scope="module")
def summary(folder):
    return write_ntu("ntu60", folder, clips=CLIPS, seed=7, broken=2 * len(DAMAGE))


@pytest.fixture(scope="module")
def recordings(folder, summary):
    """The good clips of one set in their order: (name, frames)."""
    return [(name, read_strictly((folder / f"{name}.skeleton").read_bytes())) for name in plan(CLIPS)]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def joints_of(recordings):
    """Every joint row of a fifth of the clips, (R, 12), in whole bodies."""
    return np.array([row for _, frames in recordings[::5] for bodies in frames for _, rows in bodies for row in rows])


def actor(frames):
    """The body with most frames, (T, 25, 3), where it is seen; renamed actors by their longer part."""
    counts = Counter(body for bodies in frames for body, _ in bodies)
    longest = max(counts, key=counts.get)
    return np.array([rows for bodies in frames for body, rows in bodies if body == longest])[:, :, :3]


def test_every_good_clip_keeps_the_grammar(recordings):
    assert len(recordings) == CLIPS
    assert all(60 <= len(frames) <= 110 for _, frames in recordings)
    assert all(max(map(len, frames)) <= 3 for _, frames in recordings)


def test_numbers_have_at_most_seven_digits(folder, summary):
    text = (folder / f"{plan(1)[0]}.skeleton").read_text().splitlines()
    rows = [line.split(" ") for line in text if line.count(" ") == 11]
    for token in itertools.chain.from_iterable(rows):
        assert len(token.split("E")[0].lstrip("-").replace(".", "").lstrip("0")) <= 7


def test_pixels_are_where_a_kinect_sees_the_joint(recordings):
    x, y, z, depth_x, depth_y, colour_x, colour_y = joints_of(recordings)[:, :7].T
    np.testing.assert_allclose(depth_x, 256 + 366 * x / z, atol=1e-3)
    np.testing.assert_allclose(depth_y, 212 - 366 * y / z, atol=1e-3)
    np.testing.assert_allclose(colour_x, 960 + 1055 * x / z, atol=1e-3)
    np.testing.assert_allclose(colour_y, 540 - 1055 * y / z, atol=1e-3)
    assert z.min() > 0.5
    assert z.max() < 8


def test_orientations_are_unit_turns_but_at_the_ends_of_the_tree(recordings):
    turns = joints_of(recordings)[:, 7:11].reshape(-1, 25, 4)
    ends = [3, 15, 19, 21, 22, 23, 24]
    assert not turns[:, ends].any()
    np.testing.assert_allclose(np.linalg.norm(np.delete(turns, ends, axis=1), axis=2), 1, atol=1e-5)


def test_an_orientation_lays_y_along_the_bone(recordings):
    rows = joints_of(recordings).reshape(-1, 25, 12)
    w, x, y, z = rows[:, 5, 7:11].T
    along = np.stack([2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)], axis=1)
    bone = rows[:, 5, :3] - rows[:, 4, :3]
    np.testing.assert_allclose(along, bone / np.linalg.norm(bone, axis=1, keepdims=True), atol=5e-3)


def test_most_joints_are_tracked_and_some_inferred(recordings):
    states = joints_of(recordings)[:, 11]
    assert set(states) == {1, 2}
    assert 0.03 < np.mean(states == 1) < 0.2


def test_people_stand_upright_at_human_size(recordings):
    for _, frames in recordings:
        xyz = actor(frames)
        extent = np.median(np.ptp(xyz, axis=1), axis=0)
        assert 0.9 < extent[1] < 2.2
        assert np.mean(np.ptp(xyz[..., 0], axis=1) <= 0.8 * np.ptp(xyz[..., 1], axis=1)) > 0.9


def test_every_actor_is_there_long_enough_to_keep(recordings):
    for name, frames in recordings:
        present = Counter(len(bodies) for bodies in frames)
        assert sum(number for bodies, number in present.items() if bodies >= 1 + (name.action in TWO_PERSON)) >= 45
        assert len(actor(frames)) >= 17


def test_dirt_is_there_and_moderate(recordings):
    empty_start = empty_inside = renamed = ghosts = spikes = 0
    for name, frames in recordings:
        sizes = [len(bodies) for bodies in frames]
        first = next(at for at, size in enumerate(sizes) if size)
        empty_start += first > 0
        empty_inside += 0 in sizes[first:]
        counts = Counter(body for bodies in frames for body, _ in bodies)
        extra = len(counts) - (2 if name.action in TWO_PERSON else 1)
        assert extra <= 2
        shortest = min(counts.values())
        ghosts += extra > 0 and shortest <= 9
        renamed += extra - (extra > 0 and shortest <= 9) > 0
        spikes += np.abs(np.diff(actor(frames), axis=0)).max() > 0.2
    assert 5 <= empty_start <= 45
    assert 5 <= empty_inside <= 45
    assert 3 <= ghosts <= 35
    assert 3 <= renamed <= 30
    assert 2 <= spikes <= 50


def test_summary_says_what_is_there(folder, summary):
    files = contents(folder)
    assert summary.files == len(files) == CLIPS + 2 * len(DAMAGE)
    assert summary.bytes == sum(map(len, files.values()))
    good = [NtuName.parse(name.removesuffix(".skeleton")) for name in files if name[:20] not in summary.broken]
    assert summary.classes == tuple(sorted({name.label for name in good}))
    assert summary.performers == tuple(sorted({name.performer for name in good}))
    assert len(summary.classes) == 10
    assert len(summary.performers) == 40


def test_every_broken_file_is_refused_each_for_its_reason(folder, summary):
    assert Counter(summary.broken.values()) == dict.fromkeys(DAMAGE, 2)
    for name in summary.broken:
        with pytest.raises(BadFileError):
            read_strictly((folder / f"{name}.skeleton").read_bytes())


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_never_leaves_a_readable_file(kind):
    name = plan(2)[1]
    text = synth_ntu._recording(name, 1, 0, 1)
    read_strictly(text)
    for seed in range(8):
        with pytest.raises(BadFileError):
            read_strictly(damage(kind, text, np.random.default_rng(seed)))


def test_same_seed_same_bytes(tmp_path):
    write_ntu("ntu60", tmp_path / "a", clips=5, seed=3, broken=2)
    write_ntu("ntu60", tmp_path / "b", clips=5, seed=3, broken=2)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_another_seed_says_other_things_under_the_same_names(tmp_path):
    write_ntu("ntu60", tmp_path / "a", clips=5, seed=3)
    write_ntu("ntu60", tmp_path / "b", clips=5, seed=4)
    a, b = contents(tmp_path / "a"), contents(tmp_path / "b")
    assert a.keys() == b.keys()
    assert all(a[name] != b[name] for name in a)


def test_a_longer_set_begins_with_the_shorter_one(tmp_path):
    write_ntu("ntu60", tmp_path / "short", clips=5, seed=3, broken=2)
    write_ntu("ntu60", tmp_path / "long", clips=9, seed=3, broken=4)
    short, long = contents(tmp_path / "short"), contents(tmp_path / "long")
    assert len(long) == 13
    assert short.items() <= long.items()


def test_a_longer_plan_begins_with_the_shorter_one():
    assert plan(3000)[:100] == plan(100)
    assert plan_broken(200)[:50] == plan_broken(50)


@pytest.mark.parametrize("clips", [1, 2, 3, 47, 48, 49, 100, 240, 1440, 3000])
def test_set_has_as_many_classes_as_the_rule_says(clips):
    assert len({name.label for name in plan(clips)}) == min(clips, 60, max(2, -(-clips // BLOCK)))


@pytest.mark.parametrize("clips", [4, 48, 74, 240, 1440, 5000])
def test_every_class_has_rows_on_all_sides_of_both_splits(clips):
    rows = {}
    for name in plan(clips):
        rows.setdefault(name.label, []).append((name.performer in NTU60.xsub_train, name.camera in XVIEW_TRAIN))
    for sides in rows.values():
        assert {by_performer for by_performer, _ in sides} == {True, False}
        assert {by_camera for _, by_camera in sides} == {True, False}


def test_a_whole_block_is_even():
    names = plan(CLIPS)
    for label in {name.label for name in names}:
        block = [name for name in names if name.label == label]
        assert len(block) == BLOCK
        assert abs(sum(name.performer in NTU60.xsub_train for name in block) - 12) <= 1
        assert all(abs(count - 8) <= 1 for count in Counter(name.camera for name in block).values())
        assert all(abs(count - 12) <= 1 for count in Counter(name.replication for name in block).values())
        assert len({name.performer for name in block}) >= 23
    performers = Counter(name.performer for name in names)
    assert max(performers.values()) - min(performers.values()) <= 2
    assert {50, 51} == {name.action for name in names} & TWO_PERSON


def test_names_are_the_data_sets_own_and_none_comes_twice():
    names = plan(50_000) + plan_broken(6000)
    assert len(set(names)) == 56_000
    assert not {str(name) for name in names} & missing_names()
    for name in names:
        assert NtuName.parse(str(name)) == name
        assert NTU60.contains(name)
        assert name.camera in (1, 2, 3)
        assert name.replication in (1, 2)
        assert name.performer <= 40
        assert name.action <= 60


def test_names_of_the_larger_set_follow_its_rules_and_fill_all_sides_of_its_splits():
    names = plan(9_000, "ntu120") + plan_broken(1_200, "ntu120")
    assert len(set(names)) == 10_200
    assert not {str(name) for name in names} & missing_names()
    rows = {}
    for name in names:
        assert NTU120.contains(name)
        assert name.performer <= NTU120.performers
        assert (name.action <= 60) == (name.setup <= 17)
        rows.setdefault(name.label, []).append((name.performer in NTU120.xsub_train, is_xset_train(name.setup)))
    assert sorted(rows) == list(range(120))
    for sides in rows.values():
        assert {xsub for xsub, _ in sides} == {xset for _, xset in sides} == {True, False}
    few = {name.action for name in plan(100, "ntu120")}
    assert {action <= 60 for action in few} == {True, False}


def test_broken_names_stay_clear_of_the_fullest_set():
    with pytest.raises(ConfigError, match=r"names for at most \d+ clips") as refusal:
        plan(10**6)
    fullest = int(re.search(r"at most (\d+)", str(refusal.value)).group(1))
    assert not set(plan(fullest)) & set(plan_broken(6000))


@pytest.mark.parametrize(
    "numbers", [{"clips": 0, "seed": 0}, {"clips": 1, "seed": -1}, {"clips": 1, "seed": 0, "broken": -1}]
)
def test_impossible_numbers_are_refused(tmp_path, numbers):
    with pytest.raises(ConfigError):
        write_ntu("ntu60", tmp_path / "raw", **numbers)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_files_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(OutputExists, match="empty"):
        write_ntu("ntu60", tmp_path, clips=1, seed=0)
    assert contents(tmp_path) == {"mine.txt": b"keep"}


def test_a_file_in_the_way_is_left_alone(tmp_path):
    (tmp_path / "raw").write_text("keep")
    with pytest.raises(OutputExists):
        write_ntu("ntu60", tmp_path / "raw", clips=1, seed=0)
    with pytest.raises(OutputFailed, match=r"raw/ntu: cannot be written"):
        write_ntu("ntu60", tmp_path / "raw" / "ntu", clips=1, seed=0)


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "raw").mkdir()
    assert write_ntu("ntu60", tmp_path / "raw", clips=2, seed=0).files == len(contents(tmp_path / "raw")) == 2


@pytest.mark.parametrize("blow", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_interrupted_run_leaves_nothing(tmp_path, monkeypatch, blow):
    texts = itertools.count()

    def fail_late(sightings):
        if next(texts) == 2:
            raise blow
        return b""

    monkeypatch.setattr(synth_ntu, "skeleton_text", fail_late)
    with pytest.raises((KeyboardInterrupt, OutputFailed)):
        write_ntu("ntu60", tmp_path / "deep" / "raw", clips=5, seed=0)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == [".raw.lock"]


def test_bones_keep_their_length_through_every_motion():
    person = draw_person(np.random.default_rng(0))
    lengths = np.linalg.norm(person.bones, axis=1)
    for action in range(1, 61):
        for role in roles(action):
            xyz = perform(role, person, 60, np.random.default_rng(action))
            for joint, parent in enumerate(KINECT_V2.parents):
                if parent >= 0:
                    drawn = np.linalg.norm(xyz[:, joint] - xyz[:, parent], axis=1)
                    np.testing.assert_allclose(drawn, lengths[joint], rtol=1e-9)
            assert xyz[..., 1].min() > -0.35


def test_two_actors_face_each_other(recordings):
    checked = 0
    for name, frames in recordings:
        if name.action not in TWO_PERSON:
            continue
        people = next(bodies for bodies in frames if len(bodies) == 2)
        one, other = (np.array(rows)[:, :3] for _, rows in people)
        ahead = np.cross(one[8] - one[4], [0, 1, 0])
        back = np.cross(other[8] - other[4], [0, 1, 0])
        between = other[0] - one[0]
        checked += (ahead @ between) * (back @ between) < 0
        assert 0.3 < np.linalg.norm(between) < 2.2
    assert checked >= 42


@pytest.mark.kernels
def test_written_numbers_are_pythons_seven_digits():
    rng = np.random.default_rng(0)
    numbers = (rng.normal(size=(200, 25, 11)) * 10.0 ** rng.integers(-7, 4, (200, 25, 11))).astype(np.float32)
    numbers[0, 0] = [0, 1, -1, 1e-4, 1e-5, 9.9999995e-5, 1920, 1036.5, 100000, 0.5, 1.0078125]
    states = rng.integers(0, 3, (200, 25)).astype(np.int8)
    out = np.empty(200 * 25 * ROW_BYTES, np.uint8)
    ends = write_joint_rows(numbers, states, out)
    rows = zip(numbers.reshape(-1, 11).tolist(), states.ravel().tolist(), strict=True)
    expected = [" ".join([*(f"{x:.7g}".replace("e", "E") for x in row), str(state)]) + "\r\n" for row, state in rows]
    assert out[: ends[-1]].tobytes().decode() == "".join(expected)
    assert ends[0] == sum(map(len, expected[:25]))


def nearest_neighbour(features, labels, train):
    distance = ((features[~train, None] - features[train]) ** 2).sum(axis=2)
    return np.mean(labels[train][distance.argmin(axis=1)] == labels[~train])


def resized(xyz, frames=16):
    at = np.linspace(0, len(xyz) - 1, frames).round().astype(int)
    return xyz[at].reshape(-1)


def test_classes_carry_over_to_other_people_but_not_in_raw_coordinates(recordings):
    labels = np.array([name.label for name, _ in recordings])
    train = np.array([name.performer in NTU60.xsub_train for name, _ in recordings])
    bodies = [actor(frames) for _, frames in recordings]
    raw = nearest_neighbour(np.array([resized(xyz) for xyz in bodies]), labels, train)
    centred = nearest_neighbour(np.array([resized(xyz - xyz[:, :1]) for xyz in bodies]), labels, train)
    assert centred > 0.6  # chance is 0.1
    assert raw < 0.7
    assert raw < centred


def test_a_missing_joint_is_written_as_zero_and_its_pixels_too() -> None:
    xyz = np.full((2, 25, 3), 1.5)
    xyz[0, [0, 6, 20]] = 0  # both ends of the spine and a wrist
    seen, tracking = np.ones(2, bool), np.full((2, 25), 2, np.int8)
    written = skeleton_text([SensorBody(body=np.full(2, 7), present=seen, xyz=xyz, tracking=tracking)])
    text = np.frombuffer(written + bytes(PADDING), np.uint8).copy()
    read = parse(text, len(written), source="here", name="S001C001P001R001A001")
    np.testing.assert_array_equal(read.xyz, xyz.astype(np.float32))
    assert written.splitlines()[4].startswith(b"0 0 0 256 212 960 540 ")  # the pictures' middles
    assert b"nan" not in written.lower()
