import numpy as np
import pytest

from pipeline.skeleton.layout import KINECT_V2
from pipeline.sources.ntu.names import TWO_PERSON
from pipeline.synth import synth
from pipeline.synth.body import positions
from pipeline.synth.motion import draw_person, perform
from pipeline.synth.ntu import SUFFIX, write_ntu
from pipeline.synth.realistic import (
    LENGTHS,
    draw_length,
    draw_realistic_person,
    mirrored,
    perform_realistically,
    realistic_roles,
)
from pipeline.synth.roles import roles

ONE_PERSON = [action for action in range(1, 121) if action not in TWO_PERSON]


def performance(action, seed, frames=140):
    rng = np.random.default_rng([seed, action])
    return perform_realistically(realistic_roles(action)[0], draw_realistic_person(rng), frames, rng)


def test_lengths_cover_their_range():
    rng = np.random.default_rng(0)
    lengths = [draw_length(rng) for _ in range(2000)]
    assert (min(lengths), max(lengths)) == LENGTHS


@pytest.mark.parametrize("action", [1, 2, 3, 5, 6, 50])
def test_bodies_are_rigid_and_stand_on_the_floor(action):
    xyz = performance(action, seed=3)
    assert xyz.shape == (140, 25, 3)
    children = [joint for joint, parent in enumerate(KINECT_V2.parents) if parent >= 0]
    bones = np.linalg.norm(xyz[:, children] - xyz[:, [KINECT_V2.parents[joint] for joint in children]], axis=2)
    assert np.ptp(bones, axis=0).max() < 1e-9
    hop = max(role.hop for role in realistic_roles(action))
    assert -1e-9 < xyz[..., 1].min() <= 1e-9
    assert xyz[..., 1].min(axis=1).max() <= hop + 1e-9


def test_a_third_of_the_classes_differ_from_the_class_before_only_in_time():
    for before, action in zip(ONE_PERSON[1::3], ONE_PERSON[2::3], strict=False):
        (model,), (role,) = realistic_roles(before), realistic_roles(action)
        np.testing.assert_array_equal(role.posture, model.posture)
        np.testing.assert_array_equal(role.swing, model.swing)
        assert role.time != model.time


def test_a_mirrored_role_is_the_mirror_image():
    person = draw_person(np.random.default_rng(0))
    names = KINECT_V2.joints
    other = {"left": "right", "right": "left"}
    swap = [names.index("_".join(other.get(word, word) for word in name.split("_"))) for name in names]
    for action in (1, 4, 7, 14):
        (role,) = roles(action)
        image = positions((mirrored(role).posture + mirrored(role).swing)[None], person.bones)
        expected = positions((role.posture + role.swing)[None], person.bones)[:, swap] * (-1, 1, 1)
        np.testing.assert_allclose(image, expected, atol=1e-9)


def test_an_action_starts_anywhere_in_the_clip():
    hand = KINECT_V2.index("left_hand")
    moments = []
    for seed in range(30):
        speed = np.linalg.norm(np.diff(performance(2, seed)[:, hand], axis=0), axis=1)
        moments.append(np.average(np.arange(139), weights=speed**4))
    assert np.ptp(moments) > 50


def recognised(perform_action):
    """Return how many of 12 classes a nearest neighbour recognises from 4 other people, 4 clips each."""
    clips = np.array(
        [[perform_action(action, seed)[::10].ravel()[:1000] for seed in range(8)] for action in ONE_PERSON[:12]]
    )
    train, test = clips[:, :4].reshape(48, -1), clips[:, 4:].reshape(48, -1)
    nearest = np.linalg.norm(test[:, None] - train[None], axis=2).argmin(axis=1)
    return int(np.sum(nearest // 4 == np.arange(48) // 4))


def test_classes_are_harder_than_those_of_the_fixtures():
    def easy(action, seed):
        rng = np.random.default_rng([seed, action])
        return perform(roles(action)[0], draw_person(rng), 140, rng)

    assert recognised(performance) + 8 < recognised(easy)


def test_synth_writes_realistic_recordings_and_fixtures_easy_ones(tmp_path):
    synth.write("ntu60", tmp_path / "command", clips=2, seed=4)
    write_ntu("ntu60", tmp_path / "realistic", clips=2, seed=4, realistic=True)
    write_ntu("ntu60", tmp_path / "easy", clips=2, seed=4)
    for file in sorted((tmp_path / "command").glob(f"*{SUFFIX}")):
        text = file.read_bytes()
        assert text == (tmp_path / "realistic" / file.name).read_bytes()
        assert text != (tmp_path / "easy" / file.name).read_bytes()
        assert LENGTHS[0] <= int(text.split(b"\r\n", 1)[0]) <= LENGTHS[1]
