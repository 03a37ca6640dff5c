import json
import re
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import RecipeError, UnusableClip
from pipeline.recipes.recipe import Recipe, apply_recipe, load_recipe, recipe_from_plain, shipped_recipes
from pipeline.recipes.registry import STEPS
from pipeline.skeleton.recording import STEP_COUNTS, Recording
from pipeline.sources.ntu.parser import parse
from pipeline.sources.text_buffer import TextReader
from tests.support.people import STANDING, WIDE, errors, known_frames, people, recorded

GOLDEN = Path(__file__).parents[2] / "golden"
FILES = sorted(path.stem for path in (GOLDEN / "raw").glob("*.skeleton"))


def read_rows(path: Path) -> Recording:
    """Parse a file."""
    reader = TextReader()
    size, _ = reader.read_file(path)
    return parse(reader.text, size, source=path.name, name=path.stem)


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "recipes.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def clean():
    return load_recipe("clean")


def sensor_axes(recipe: Recipe) -> Recipe:
    """Return a recipe without its normalising steps, so that its result can be compared with the truth."""
    return Recipe(name="", description="", steps=tuple(s for s in recipe.steps if not s.name.startswith("one_")))


def as_stored(xyz, layout):
    """Return (M, T, V, 3) in the layout of a reference implementation: "CTVM", or "T(MVC)" for CTR-GCN."""
    return xyz.transpose(3, 1, 2, 0) if layout == "CTVM" else xyz.swapaxes(0, 1).reshape(xyz.shape[1], -1)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("recipe", "key", "layout", "metres"),
    [
        ("none", "first-two-bodies", "CTVM", 0),
        ("skelemixclr", "skelemixclr-64", "CTVM", 2e-6),
        ("ctrgcn", "ctrgcn", "T(MVC)", 0),
        ("agcn", "agcn-300", "CTVM", 1e-6),
    ],
)
def test_recipes_give_the_result_of_the_reference_implementations(golden, name, recipe, key, layout, metres):
    found = apply_recipe(load_recipe(recipe), read_rows(GOLDEN / "raw" / f"{name}.skeleton")).xyz
    assert found.dtype == np.float32
    np.testing.assert_allclose(as_stored(found, layout), golden[f"{key}/{name}"], atol=metres, rtol=0)


@pytest.mark.parametrize("name", FILES)
def test_bodies_by_motion_gives_ctrgcns_result_before_translation(golden, name):
    found = STEPS["bodies_by_motion"](read_rows(GOLDEN / "raw" / f"{name}.skeleton")).xyz
    np.testing.assert_array_equal(as_stored(found, "T(MVC)"), golden[f"ctrgcn-denoised/{name}"])


def test_for_ntu120_ctrgcn_repeats_a_single_body(golden):
    for name, bodies in (("S001C001P001R001A001", 1), ("S001C002P003R001A050", 2)):
        found = apply_recipe(load_recipe("ctrgcn-ntu120"), read_rows(GOLDEN / "raw" / f"{name}.skeleton")).xyz
        columns = golden[f"ctrgcn/{name}"]
        np.testing.assert_array_equal(as_stored(found, "T(MVC)"), np.tile(columns, 3 - bodies))


def test_long_clips_of_pku_mmd_are_cut_like_the_reference_implementations():
    long = people(np.random.default_rng(0), bodies=2, frames=411)
    np.testing.assert_array_equal(apply_recipe(load_recipe("mamp-pku"), recorded(long)).xyz, long[:, :300])
    found = apply_recipe(load_recipe("aimclr-pku"), recorded(long)).xyz
    assert found.shape == (2, 50, 25, 3)
    middle = recorded(long[:, 55:355])
    sixty_four = load_recipe("skelemixclr").resolved["steps"]
    fifty = [step | {"frames": 50} if step["step"] == "resize" else step for step in sixty_four]
    np.testing.assert_array_equal(
        found, apply_recipe(recipe_from_plain({"name": "a", "steps": fifty}, "here"), middle).xyz
    )


# For each file: the frames of each actor, the most active first, and the step counts.
CLEANED = {
    "S001C001P001R001A001": ([range(40)], {}),
    "S001C002P003R001A050": ([range(46), range(46)], {}),
    "S001C003P002R002A024": ([range(50)], {"bodies_dropped": 1}),
    "S002C001P008R001A027": ([range(44)], {"bodies_dropped": 1}),
    "S002C002P009R001A008": ([range(60)], {"bodies_rejoined": 1}),
    "S003C001P016R002A055": ([range(64), [*range(22), *range(40, 64)]], {"bodies_rejoined": 1}),
    "S003C003P025R001A009": ([range(39)], {"frames_trimmed": 9}),
    "S004C001P020R001A052": ([[*range(25), *range(45, 70)], range(70)], {}),
    "S004C002P004R002A003": ([range(60)], {"bodies_rejoined": 1}),
    "S005C003P027R001A017": ([range(11)], {"frames_trimmed": 3}),
    "S006C001P007R001A060": ([range(55), range(10, 50)], {"bodies_dropped": 2}),
}


@pytest.mark.parametrize("name", FILES)
def test_clean_finds_the_people_of_every_dirty_file(clean, name):
    recording = read_rows(GOLDEN / "raw" / f"{name}.skeleton")
    found = apply_recipe(clean, recording)
    frames, done = CLEANED[name]
    assert known_frames(found.xyz) == [list(present) for present in frames]
    untold = ("bodies_found", "joints_smoothed")
    assert {key: count for key, count in found.step_counts.items() if count and key not in untold} == done
    assert found.step_counts["bodies_found"] == len(np.unique(recording.body))


@pytest.mark.parametrize("name", FILES)
def test_clean_moves_no_joint_of_the_golden_files_far(clean, name):
    recording = read_rows(GOLDEN / "raw" / f"{name}.skeleton")
    found = apply_recipe(sensor_axes(clean), recording)
    start = int(recording.frame[0]) if found.step_counts["frames_trimmed"] else 0
    for body in found.xyz:
        ways = []
        for t in np.flatnonzero(np.isfinite(body[:, 0, 0])):
            rows = recording.xyz[recording.frame == t + start]
            ways.append(np.linalg.norm(rows - body[t], axis=-1).mean(axis=-1).min())
        assert np.mean(ways) < 0.005  # the files have 3 mm of noise on each axis


def test_every_clip_has_all_step_counts():
    for recipe in map(load_recipe, shipped_recipes()):
        quality = apply_recipe(recipe, recorded(people(np.random.default_rng(0)))).step_counts
        assert list(quality) == list(STEP_COUNTS)
        assert all(type(count) is int for count in quality.values())


def test_clean_hardly_changes_clean_recordings(clean):
    for seed in range(5):
        truth = people(np.random.default_rng(seed), bodies=2)
        found = apply_recipe(sensor_axes(clean), recorded(truth)).xyz
        order = [0, 1] if np.nanmean(errors(found[0], truth[0])) < 100 else [1, 0]
        assert errors(found, truth[order]).mean() < 1
        assert np.quantile(errors(found, truth[order]), 0.99) < 3


def test_clean_twice_is_clean_once(clean):
    once = apply_recipe(clean, recorded(people(np.random.default_rng(2), bodies=2)))
    again = apply_recipe(clean, recorded(once.xyz))
    # The origin is at a joint, and (0, 0, 0) means missing: this joint is lost in one frame.
    assert np.isnan(again.xyz).sum() <= 3
    assert np.nanmax(np.abs(again.xyz - once.xyz)) < 0.02


def faults(truth, rng):
    """Recordings of one person with the faults of sensors, and the allowed mean error of `clean` in millimetres."""
    T = truth.shape[1]
    nobody = np.full_like(truth, np.nan)
    ghost = nobody.copy()
    ghost[0, 20:30] = STANDING + np.array([0.8, 0, 0.6]) + rng.normal(0, 0.05, (10, 25, 3))
    table = (WIDE + np.array([1.2, -0.5, 0.5]) + rng.normal(0, 0.02, (1, T, 25, 3))).astype(np.float32)
    chair = (STANDING + np.array([1.2, -0.5, 0.5]) + rng.normal(0, 0.01, (1, T, 25, 3))).astype(np.float32)
    gone = truth.copy()
    gone[0, 40:45] = np.nan
    spiked = truth.copy()
    at = rng.random(truth.shape[:3]) < 0.02
    spiked[at] += rng.normal(0, 0.6, (at.sum(), 3))
    shaken = (truth + rng.normal(0, 0.01, truth.shape)).astype(np.float32)
    renamed = np.where(np.arange(T) < 37, 4, 9)[None]
    return {
        "renamed": (recorded(truth, renamed), 0.01),
        "ghost": (recorded(np.concatenate([truth, ghost]), order=[1, 0]), 0.01),
        "table": (recorded(np.concatenate([truth, table]), order=[1, 0]), 0.01),
        "chair": (recorded(np.concatenate([truth, chair]), order=[1, 0]), 0.01),
        "dropped out": (recorded(gone), 1),
        "dropped out and renamed": (recorded(gone, np.where(np.arange(T) < 42, 4, 9)[None]), 1),
        "spikes": (recorded(spiked), 0.1),
        "jitter": (recorded(shaken), 15),  # of 16: not much more than what is left in
    }


@pytest.mark.parametrize("fault", faults(people(np.random.default_rng(0)), np.random.default_rng(0)))
def test_clean_recovers_one_person_from(clean, fault):
    for seed in range(4):
        rng = np.random.default_rng(seed)
        truth = people(rng)
        recording, bound = faults(truth, rng)[fault]
        found = apply_recipe(sensor_axes(clean), recording).xyz
        assert found.shape == truth.shape
        assert np.isnan(found).mean() < 0.002
        assert errors(found, truth).mean() < bound


def test_clean_recovers_two_people_whose_order_ids_and_frames_are_mixed_up(clean):
    for seed in range(4):
        rng = np.random.default_rng(seed)
        truth = people(rng, bodies=2)
        ids = np.array([[1] * 30 + [2] * 50, [2] * 30 + [3] * 50])
        mixed = recorded(truth, ids, order=[1, 0])
        found = apply_recipe(sensor_axes(clean), mixed).xyz
        assert found.shape == truth.shape
        assert min(errors(found, truth).mean(), errors(found, truth[::-1]).mean()) < 0.01


def test_hopeless_clips_are_refused_with_the_reason(clean):
    empty = recorded(np.full((1, 20, 25, 3), np.nan))
    with pytest.raises(UnusableClip, match="no body in any frame"):
        apply_recipe(clean, empty)
    with pytest.raises(UnusableClip, match="the first body is in no frame"):
        apply_recipe(load_recipe("skelemixclr"), empty)
    for recipe, reason in (("ctrgcn", "no body in any frame"), ("mamp-pku", "the coordinates sum to zero")):
        with pytest.raises(UnusableClip, match=reason):
            apply_recipe(load_recipe(recipe), empty)
    assert not apply_recipe(load_recipe("none"), empty).xyz.any()  # these reference implementations keep them
    assert not apply_recipe(load_recipe("agcn"), empty).xyz.any()
    with pytest.raises(UnusableClip, match="a body in 4 frames only, 6 are needed"):
        apply_recipe(clean, recorded(people(np.random.default_rng(0), frames=4)))


def test_absurd_numbers_cause_no_warnings():
    absurd = people(np.random.default_rng(0)).astype(np.float64)
    absurd[0, 5, 3], absurd[0, 6, 20, 1], absurd[0, 7, 4, 0] = 1e38, np.inf, -np.inf
    for recipe in map(load_recipe, shipped_recipes()):
        apply_recipe(recipe, recorded(absurd))


def test_resolved_is_complete_plain_data_and_can_be_read_back(clean):
    for recipe in map(load_recipe, shipped_recipes()):
        plain = json.loads(json.dumps(recipe.resolved))
        assert recipe_from_plain(plain, "a store") == recipe
        assert hash(recipe_from_plain(plain, "a store")) == hash(recipe)
    assert {"step": "fill_gaps", "max_gap": 10} in clean.resolved["steps"]
    assert load_recipe("clean") != load_recipe("skelemixclr")


def test_a_custom_recipe_works(tmp_path):
    mine = tmp_path / "mine.toml"
    mine.write_text(
        'name = "mine"\n[[steps]]\nstep = "follow_ids"\nmax_jump = 1\n[[steps]]\nstep = "resize"\nframes = 20\n'
    )
    recipe = load_recipe(str(mine))
    assert recipe.resolved == {
        "name": "mine",
        "frame_index": "0-exclusive",
        "steps": [
            {"step": "follow_ids", "max_jump": 1.0, "pace": 0.045, "max_distance": 0.5, "min_stay": 3},
            {"step": "resize", "frames": 20},
        ],
    }
    assert apply_recipe(recipe, recorded(people(np.random.default_rng(0), bodies=3))).xyz.shape == (3, 20, 25, 3)


def test_explicit_defaults_and_descriptions_do_not_change_a_recipe():
    steps = [{"step": "follow_ids"}, {"step": "fill_gaps"}]
    spelt = [{"step": "follow_ids", "max_jump": 0.25}, {"step": "fill_gaps", "max_gap": 10}]
    one = recipe_from_plain({"name": "a", "steps": steps}, "here")
    assert one == recipe_from_plain({"name": "a", "description": "said again", "steps": spelt}, "there")
    assert one != recipe_from_plain({"name": "b", "steps": steps}, "here")
    assert one != recipe_from_plain({"name": "a", "steps": steps[:1]}, "here")


def test_another_frame_index_makes_another_recipe(clean):
    assert clean.with_frame_index(None) is clean
    assert clean.with_frame_index("1-inclusive").frame_index == "1-inclusive"
    assert clean.with_frame_index("1-inclusive") != clean
    assert clean != clean.resolved


FIRST = {"step": "follow_ids"}


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ({"steps": [FIRST]}, r"mine.toml: 'name' is missing"),
        (
            {"name": "a", "steps": [FIRST], "setps": 1},
            r"'setps' is unknown \(did you mean steps\?\); it takes name, description, frame_index, steps",
        ),
        (
            {"name": "a", "steps": []},
            r"needs at least one step; the first is one of bodies_by_slot, bodies_by_energy, .*, bodies_as_pyskl, f",
        ),
        ({"name": "a", "steps": [{"frames": 3}]}, r"step 1: needs step = "),
        (
            {"name": "a", "steps": [FIRST, {"step": "polish"}]},
            r"step 2: no step is called 'polish'; steps are bodies_by",
        ),
        ({"name": 3, "steps": [FIRST]}, r"name = 3: input should be a valid string"),
        (
            {"name": "a", "steps": [FIRST, FIRST]},
            r"step 2 \(follow_ids\): reads a recording, so it must be first",
        ),
        (
            {"name": "a", "steps": [{"step": "trim"}]},
            r"step 1 \(trim\): changes a clip, so it cannot be first; the first",
        ),
        ({"name": "a", "steps": [FIRST, {"step": "resize", "length": 3}]}, r"'length' is unknown; it takes frames"),
        ({"name": "a", "steps": [FIRST, {"step": "one_origin", "at": 3}]}, r"'at' is unknown; it takes no parameter"),
        ({"name": "a", "steps": [FIRST, {"step": "resize", "frames": 0}]}, r"frames = 0: .*greater than or equal to 1"),
        (
            {"name": "a", "steps": [FIRST, {"step": "resize", "frames": 6.5}]},
            r"frames = 6.5: input should be a valid int",
        ),
        (
            {"name": "a", "steps": [FIRST, {"step": "resize", "frames": "9"}]},
            r"frames = '9': input should be a valid int",
        ),
        (
            {"name": "a", "steps": [FIRST, {"step": "resize", "frames": True}]},
            r"frames = True: input should be a valid",
        ),
        ({"name": "a", "steps": [FIRST, {"step": "smooth", "max_move": float("inf")}]}, r"max_move = inf: .*finite"),
        ({"name": "a", "steps": [FIRST, {"step": "smooth", "max_move": float("nan")}]}, r"max_move = nan: "),
    ],
)
def test_an_invalid_recipe_is_refused_with_file_step_and_known_names(plain, message):
    with pytest.raises(RecipeError, match=message):
        recipe_from_plain(plain, "mine.toml")


def test_an_unknown_or_broken_file_is_refused(tmp_path):
    with pytest.raises(
        RecipeError,
        match=r"no recipe is called 'cleen' \(did you mean clean.*\?\); there are agcn, aimclr-pku, clean, ",
    ):
        load_recipe("cleen")
    with pytest.raises(RecipeError, match="no recipe is called ''"):
        load_recipe("")
    with pytest.raises(RecipeError, match="no such recipe file"):
        load_recipe(str(tmp_path / "none.toml"))
    for path in ("folder/clean", "none.toml"):
        with pytest.raises(RecipeError, match=f"{path}: no such recipe file"):
            load_recipe(path)
    broken = tmp_path / "broken.toml"
    broken.write_text("name = ")
    with pytest.raises(RecipeError, match="cannot be read as TOML"):
        load_recipe(str(broken))
    with pytest.raises(RecipeError, match="cannot be read as TOML"):
        load_recipe(f"{tmp_path}/")


def test_the_manual_names_every_step_parameter_default_and_count():
    pages = sorted((Path(__file__).parents[3] / "docs" / "data").glob("*.md"))
    manual = "".join(page.read_text(encoding="utf-8") for page in pages)
    for recipe in map(load_recipe, shipped_recipes()):
        assert re.search(rf"(?m)^#+ .*`{recipe.name}`", manual), recipe.name
        for step in recipe.steps:
            assert f"`{step.name}`" in manual
            for parameter, value in step.parameters.items():
                assert f"`{parameter}`" in manual
                assert str(value).replace("e-05", "e-5") in manual
    for count, meaning in STEP_COUNTS.items():
        assert f"| `{count}` | {meaning} |" in manual
