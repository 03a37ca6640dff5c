"""`init`: the skeleton.toml and manifest.csv that are drafted for a user's own recordings."""

import csv
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from click.testing import Result

from pipeline.convert.draft import draft_folder
from pipeline.convert.file_name_columns import guess_columns
from pipeline.convert.skeleton_guess import guess_skeleton
from pipeline.errors import ArtifactNotFound, ConfigError, LayoutError, OutputExists
from pipeline.skeleton.layout import KINECT_V2
from pipeline.skeleton.shipped_layouts import layout_names, load_layout
from pipeline.sources.folder.source import FolderSource
from pipeline.store.store import Store
from pipeline.synth.motion import draw_person, perform
from pipeline.synth.roles import roles

JOINTS = {
    "spine_base": "Hips", "spine_shoulder": "Chest", "head": "Head",
    "left_shoulder": "LShoulder", "left_elbow": "LElbow", "left_hand": "LHand",
    "right_shoulder": "RShoulder", "right_elbow": "RElbow", "right_hand": "RHand",
    "left_knee": "LKnee", "left_foot": "LFoot", "right_knee": "RKnee", "right_foot": "RFoot",
}  # fmt: skip


def positions(number: int) -> np.ndarray:
    """(T, 13, 3) metres, y up."""
    rng = np.random.default_rng(number)
    chosen = [KINECT_V2.index(joint) for joint in JOINTS]
    return perform(roles(1 + number % 3)[0], draw_person(rng), 50, rng)[:, chosen]


def write_csv(path: Path, xyz: np.ndarray, joints: list[str], *, long: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        if long:
            writer.writerow(["frame", "joint", "x", "y", "z"])
            writer.writerows([t, joint, *xyz[t, v]] for t in range(len(xyz)) for v, joint in enumerate(joints))
        else:
            writer.writerow([f"{joint}_{axis}" for joint in joints for axis in "XYZ"])
            writer.writerows(xyz.reshape(len(xyz), -1))


@pytest.fixture
def own(tmp_path: Path) -> Callable[..., Path]:
    """Write recordings named class_subject_take.csv, in some unit and with some axis up."""

    def make(
        *, long: bool = False, scale: float = 1000, axes: tuple[int, ...] = (0, 2, 1), signs: object = (1, -1, 1)
    ) -> Path:
        for number, (label, subject) in enumerate((a, b) for a in ("lift", "wave") for b in ("anna", "bob", "cem")):
            xyz = scale * positions(number)[..., axes] * signs
            write_csv(tmp_path / "own" / f"{label}_{subject}_0.csv", xyz, [*JOINTS.values()], long=long)
        return tmp_path / "own"

    return make


@pytest.mark.parametrize("long", [False, True])
def test_a_usual_folder_is_trained_on_without_editing(
    own: Callable[..., Path], skelepipe: Callable[..., Result], long: bool
) -> None:
    folder = own(long=long)
    done = skelepipe("init", folder)
    assert done.exit_code == 0, done.output
    assert "6 recordings, 13 joints (Hips, Chest, Head, LShoulder, ...), tree and parts from their names" in done.stdout
    assert "units mm, up z; label from word 1 of the file names, subject from word 2 of the file names" in done.stdout
    assert done.stdout.endswith(f"next: skelepipe ingest folder {folder}\n")
    for command in (f"ingest folder {folder}", "build-splits"):
        done = skelepipe(*command.split())
        assert done.exit_code == 0, done.output
    store = Store("processed/own.zarr")
    assert len(store) == 6
    assert sorted(store.attributes["classes"].values()) == ["lift", "wave"]
    height = np.nanmax(store[0][..., 1]) - np.nanmin(store[0][..., 1])
    assert 1.0 < height < 2.5  # metres, upright
    assert "xsub of own, 4 train, 2 test" in skelepipe("build-splits").stdout


@pytest.mark.parametrize(
    ("scale", "axes", "signs", "units", "up"),
    [
        (1, (0, 1, 2), (1, 1, 1), "m", "y"),
        (100, (0, 1, 2), (1, -1, -1), "cm", "-y"),
        (1000, (1, 0, 2), (1, 1, -1), "mm", "x"),
    ],
)
def test_units_and_the_upward_axis_are_measured(
    own: Callable[..., Path], scale: float, axes: tuple[int, ...], signs: tuple[int, ...], units: str, up: str
) -> None:
    draft = draft_folder(own(scale=scale, axes=axes, signs=signs))
    assert (draft.units, draft.up) == (units, up)


def test_existing_files_are_kept(own: Callable[..., Path]) -> None:
    folder = own()
    draft_folder(folder)
    with pytest.raises(OutputExists, match=r"skeleton\.toml: exists; replace it with --force"):
        draft_folder(folder)
    draft_folder(folder, pattern=r"(?P<subject>[a-z]+)_\d", force=True)
    assert (folder / "manifest.csv").read_text().splitlines()[:2] == ["file,subject", "lift_anna_0.csv,anna"]


def test_unknown_joints_are_left_to_the_user(tmp_path: Path, skelepipe: Callable[..., Result]) -> None:
    write_csv(tmp_path / "own" / "a.csv", positions(0), [f"m{n}" for n in range(13)], long=False)
    done = skelepipe("init", tmp_path / "own")
    assert done.exit_code == 0, done.output
    assert (
        "complete each TODO in skeleton.toml (parents and parts of m0, m1, m2, m3, m4, m5, ...; centre;" in done.stdout
    )
    assert "next:" not in done.stdout
    with pytest.raises((ConfigError, LayoutError), match="TODO"):
        FolderSource([tmp_path / "own"])


@pytest.mark.parametrize(("joints", "layout"), [(33, "mediapipe-33"), (17, "coco-17")])
def test_arrays_without_names_get_the_layout_with_as_many_joints(tmp_path: Path, joints: int, layout: str) -> None:
    (tmp_path / "squat").mkdir()
    np.save(tmp_path / "squat" / "p1.npy", np.random.default_rng(0).normal(size=(9, joints, 3)))
    np.savez(tmp_path / "squat" / "p2.npz", xyz=np.ones((2, 9, joints, 3)))
    draft = draft_folder(tmp_path)
    assert (draft.layout, draft.recordings, draft.todo) == (layout, 2, [])
    assert draft.columns == {"subject": "word 1 of the file names"}


def test_a_layout_that_was_chosen_by_its_size_is_called_an_assumption(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(9, 25, 3)))
    draft = draft_folder(tmp_path)
    assert draft.layout == "kinect-v2"
    assert draft.notes[0] == (
        "the joints have no names: kinect-v2 is assumed, which has as many; if they are body-25, correct the layout in "
        "skeleton.toml"
    )


def test_columns_that_are_no_coordinates_are_ignored(own: Callable[..., Path]) -> None:
    """A time, an index and a column of text, as data frames have them, in a file separated by tabs."""
    folder = own()
    for path in folder.glob("*.csv"):
        header, *rows = path.read_text().splitlines()
        lines = [f"Index,Time,Action,{header}", *(f"{n},{n / 30:.3f},lift,{row}" for n, row in enumerate(rows))]
        path.with_suffix(".tsv").write_text("\n".join(lines).replace(",", "\t"))
        path.unlink()
    draft = draft_folder(folder)
    assert (draft.joints, draft.units, draft.up, draft.todo) == ([*JOINTS.values()], "mm", "z", [])
    source = FolderSource([folder])
    readings = [
        reading for entry in source.survey(keep_missing=False).entries for reading in source.read(entry, "0-exclusive")
    ]
    assert len(readings) == 6
    assert all(reading.recording.xyz.shape[1:] == (13, 3) for reading in readings)  # type: ignore[union-attr]


def test_an_archive_of_rows_gets_a_key(tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    folder.mkdir()
    for number, label in enumerate(("lift", "wave")):
        xyz = positions(number)[..., (0, 2, 1)]
        np.savez(folder / f"{label}_1.npz", fps=30, pose=xyz.reshape(len(xyz), -1))
    draft = draft_folder(folder)
    assert (len(draft.joints), draft.units, draft.up) == (13, "m", "z")
    with (folder / "manifest.csv").open() as stream:
        assert {row["key"] for row in csv.DictReader(stream)} == {"pose"}


@pytest.mark.parametrize(
    ("name", "hint"), [("a.txt", "to .csv"), ("a.json", "skelepipe convert"), ("b.bvh", "convert bvh")]
)
def test_other_files_get_a_hint(tmp_path: Path, name: str, hint: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(ConfigError, match=f"has no recording; expected .csv, .tsv.*; .*{hint}"):
        draft_folder(tmp_path)


def test_a_folder_without_recordings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactNotFound):
        draft_folder(tmp_path / "none")
    (tmp_path / "notes.txt").touch()
    (tmp_path / "._a.csv").touch()
    with pytest.raises(ConfigError, match=r"has no recording; expected \.csv"):
        draft_folder(tmp_path)
    (tmp_path / "a.csv").write_text("time,score,mood\n1,2,3\n")
    with pytest.raises(ConfigError, match=r"a\.csv:1: its 2 columns are not .*; init reads the joints from this file"):
        draft_folder(tmp_path)
    (tmp_path / "a.npy").write_bytes(b"no array")
    (tmp_path / "a.csv").unlink()
    with pytest.raises(ConfigError, match=r"a\.npy.*init reads the joints from this file"):
        draft_folder(tmp_path)


def test_every_shipped_layout_is_recognised_by_its_joints() -> None:
    for name in layout_names():
        joints = load_layout(name).joints
        assert guess_skeleton([joint.title().replace("_", " ") for joint in joints]).layout == name


def test_names_of_motion_capture_give_the_tree() -> None:
    limbs = [
        f"{side}{part}"
        for side in ("Left", "Right")
        for part in ["Shoulder", "Arm", "ForeArm", "Hand", "UpLeg", "Leg", "Foot"]
    ]
    names = ["Hips", "Spine", "Spine1", "Neck", "Head", *limbs]
    guess = guess_skeleton(names)
    parent = dict(zip(names, guess.parents, strict=True))
    assert guess.is_complete
    assert [parent[joint] for joint in ("Hips", "Spine1", "Neck")] == ["", "Spine", "Spine1"]
    assert [parent[joint] for joint in ("LeftArm", "LeftForeArm", "LeftHand")] == limbs[:3]
    assert [parent[joint] for joint in ("RightUpLeg", "RightLeg", "RightFoot")] == ["Hips", *limbs[-3:-1]]
    assert guess.parts["right_leg"] == ["RightUpLeg", "RightLeg", "RightFoot"]
    assert (guess.centre, guess.spine, guess.shoulders) == (
        "Spine",
        ("Hips", "Neck"),
        ("LeftShoulder", "RightShoulder"),
    )


@pytest.mark.parametrize(
    ("files", "columns"),
    [
        (
            ["lift_anna_0", "lift_bob_0", "wave_anna_1"],
            {"label": ["lift", "lift", "wave"], "subject": ["anna", "bob", "anna"]},
        ),
        (["p01-squat-c1", "p02-squat-c2"], {"subject": ["p01", "p02"], "camera": ["c1", "c2"]}),
        (["run/p1_0", "walk/p2_0"], {"label": ["run", "walk"], "subject": ["p1", "p2"]}),
        (["a01_s1", "a02_s2"], {"label": ["a01", "a02"], "subject": ["s1", "s2"]}),
        (["rec1", "rec_2_b"], {}),
        (["001", "002"], {}),
    ],
)
def test_columns_are_guessed_from_names(files: list[str], columns: dict[str, list[str]]) -> None:
    rows, found = guess_columns([PurePosixPath(f"{file}.csv") for file in files])
    assert {column: [row[column] for row in rows] for column in found} == columns
