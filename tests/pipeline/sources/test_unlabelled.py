import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ArtifactError, ArtifactNotFound, ConfigError, SkelepipeError
from pipeline.recipes.clips import process_recording
from pipeline.recipes.recipe import load_recipe
from pipeline.skeleton.layout import KINECT_V2
from pipeline.skeleton.recording import Clip
from pipeline.sources.folder.skeleton_toml import read_skeleton_toml
from pipeline.sources.source import Refusal
from pipeline.sources.unlabelled import FoundRecordings, find_recordings
from pipeline.synth.synth import write

NONE = load_recipe("none")


@pytest.fixture(scope="module")
def ntu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("new") / "ntu"
    write("ntu60", folder, clips=4, seed=0)
    return folder


@pytest.fixture(scope="module")
def pku(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("new") / "pku"
    write("pku1", folder, clips=12, seed=0)
    return folder


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("new") / "own"
    write("folder", folder, clips=12, seed=0)
    return folder


def clips(found: FoundRecordings) -> Iterator[Clip | Refusal]:
    """Apply the recipe `none` to all recordings found."""
    for reader, entry in found.entries:
        for given in process_recording(entry, reader, NONE):
            yield given if isinstance(given, Refusal) else given[1]


def only(found: FoundRecordings) -> Clip:
    (clip,) = clips(found)
    assert isinstance(clip, Clip), clip
    return clip


def test_a_recording_may_have_any_file_name(ntu: Path, tmp_path: Path) -> None:
    original = sorted(ntu.glob("*.skeleton"))[0]
    named = only(find_recordings([original], KINECT_V2))
    for name in ("kitchen, Monday.skeleton", "S099C009P999R009A999.skeleton", "KITCHEN.SKELETON", "kitchen.txt"):
        shutil.copy(original, tmp_path / name)
        clip = only(find_recordings([tmp_path / name], KINECT_V2))
        np.testing.assert_array_equal(clip.xyz, named.xyz)
        assert clip.name == Path(name).stem


def test_both_text_formats_are_recognised_by_their_first_line(ntu: Path, pku: Path, tmp_path: Path) -> None:
    video = sorted((pku / "PKU_Skeleton_Renew").iterdir())[0]
    shutil.copy(video, tmp_path / "long.skeleton")
    shutil.copy(sorted(ntu.glob("*.skeleton"))[0], tmp_path / "short.txt")
    long, short = clips(find_recordings([tmp_path], KINECT_V2))
    assert isinstance(long, Clip)
    assert isinstance(short, Clip)
    assert long.xyz.shape[1] == len(video.read_text().splitlines())
    assert short.xyz.shape[1] == int((tmp_path / "short.txt").read_text().split("\n")[0])


def test_a_video_is_cut_by_its_labels_and_is_one_clip_without_them(pku: Path) -> None:
    video = sorted((pku / "PKU_Skeleton_Renew").iterdir())[0]
    labels = next(pku.rglob(f"Train_Label_PKU_final/{video.name}"))
    cut = list(clips(find_recordings([video, labels], KINECT_V2)))
    rows = labels.read_text().split()
    assert [clip.name for clip in cut] == [f"{video.stem}_{line:03d}" for line in range(1, len(rows) + 1)]
    for clip, row in zip(cut, rows, strict=True):
        _, start, end, *_ = map(int, row.split(","))
        assert isinstance(clip, Clip)
        assert clip.xyz.shape[1] == end - start
    assert only(find_recordings([video], KINECT_V2)).name == video.stem


def test_labels_of_two_recordings_or_two_for_one_are_refused(pku: Path, tmp_path: Path) -> None:
    shutil.copytree(pku, tmp_path / "again")
    with pytest.raises(SkelepipeError, match="labels found twice"):
        find_recordings([pku, tmp_path / "again"], KINECT_V2)
    with pytest.raises(SkelepipeError, match="labels for two recordings"):
        find_recordings([pku, tmp_path / "again" / "PKU_Skeleton_Renew"], KINECT_V2)


def test_roots_keep_their_order_and_no_file_is_read_twice(ntu: Path) -> None:
    files = sorted(ntu.glob("*.skeleton"), reverse=True)
    found = find_recordings([*files[1:], ntu, ntu / "." / files[0].name], KINECT_V2)
    assert [entry.file.path.name for _, entry in found.entries] == [path.name for path in [*files[1:], files[0]]]


def test_other_files_are_counted_if_found_and_refused_if_named(ntu: Path, tmp_path: Path) -> None:
    shutil.copytree(ntu, tmp_path / "in")
    (tmp_path / "in" / "notes.txt").write_text("it rained\n")
    (tmp_path / "in" / "film.mp4").write_bytes(b"x")
    (tmp_path / "in" / "0009-L.txt").write_text("")
    found = find_recordings([tmp_path / "in"], KINECT_V2)
    kinds = "none of .skeleton, .txt, .npy, .npz, .h5, .hdf5, .csv, .tsv"
    assert found.left_out == {"text without skeletons": 1, kinds: 1}
    assert [bad.reason for bad in clips(found) if isinstance(bad, Refusal)] == ["the file is empty; download it again"]
    film = tmp_path / "in" / "film.mp4"
    found = find_recordings([film, tmp_path / "in" / "notes.txt"], KINECT_V2)
    assert [(str(bad.file), bad.reason) for bad in found.refused] == [
        (str(film), f"{kinds}; name recordings of that layout")
    ]
    (notes,) = clips(found)
    assert isinstance(notes, Refusal)
    assert "expected 150 numbers" in notes.reason


def test_archives_are_read_in_place_and_a_damaged_one_does_not_affect_others(ntu: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "new.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(ntu.glob("*.skeleton")):
            archive.write(path, f"deep/{path.name}")
    (tmp_path / "bad.zip").write_bytes((tmp_path / "new.zip").read_bytes()[:-60])
    found = find_recordings([tmp_path / "bad.zip", tmp_path / "new.zip"], KINECT_V2)
    (bad,) = found.refused
    assert (bad.file.path, bad.reason[:31]) == (tmp_path / "bad.zip", "cannot be read as a zip archive")
    loose = [clip.xyz for clip in clips(find_recordings([ntu], KINECT_V2)) if isinstance(clip, Clip)]
    zipped = [clip.xyz for clip in clips(found) if isinstance(clip, Clip)]
    assert len(loose) == len(zipped) == 4
    for one, other in zip(loose, zipped, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_folder_data_set_needs_no_label_column(own: Path, tmp_path: Path) -> None:
    layout = read_skeleton_toml(own / "skeleton.toml").layout
    wanted = [clip for clip in clips(find_recordings([own], layout)) if isinstance(clip, Clip)]
    shutil.copytree(own, tmp_path / "new")
    lines = [line.split(",") for line in (own / "manifest.csv").read_text().splitlines()]
    label = lines[0].index("label")
    for change in (["?"], [""], []):  # the text of each label; at the end nothing, nor a column
        text = [",".join([*cells[:label], *(change and ["label"]), *cells[label + 1 :]]) for cells in lines[:1]]
        text += [",".join([*cells[:label], *change, *cells[label + 1 :]]) for cells in lines[1:]]
        (tmp_path / "new" / "manifest.csv").write_text("\n".join(text) + "\n")
        given = [clip for clip in clips(find_recordings([tmp_path / "new"], layout)) if isinstance(clip, Clip)]
        assert [clip.name for clip in given] == [clip.name for clip in wanted]
        for one, other in zip(given, wanted, strict=True):
            np.testing.assert_array_equal(one.xyz, other.xyz)
    (tmp_path / "new" / "manifest.csv").write_text("name\na\n")
    with pytest.raises(ConfigError, match="names no column file, but"):
        find_recordings([tmp_path / "new"], layout)


def test_arrays_use_the_named_or_the_nearest_skeleton_toml(own: Path, tmp_path: Path) -> None:
    text = (own / "skeleton.toml").read_text()
    layout = read_skeleton_toml(own / "skeleton.toml").layout
    xyz = np.random.default_rng(0).normal(size=(9, len(layout.joints), 3)).astype(np.float32)
    folder = tmp_path / "day" / "deep"
    folder.mkdir(parents=True)
    np.save(folder / "one.npy", xyz * 1000)
    (bad,) = clips(find_recordings([folder], layout))
    assert isinstance(bad, Refusal)
    assert "units and axes are unknown: no skeleton.toml in its folder or above" in bad.reason
    units = next(line for line in text.splitlines() if line.startswith("units"))
    (tmp_path / "day" / "skeleton.toml").write_text(text.replace(units, 'units = "mm"'))
    per_metre = read_skeleton_toml(own / "skeleton.toml").per_metre
    spec = read_skeleton_toml(own / "skeleton.toml")
    wanted = replace(spec, per_metre=1000).metres(xyz * 1000)
    np.testing.assert_array_equal(only(find_recordings([folder], layout)).xyz[0], wanted)
    np.save(folder / "one.npy", xyz * per_metre)
    named = only(find_recordings([folder], layout, own / "skeleton.toml"))
    np.testing.assert_array_equal(named.xyz[0], spec.metres(xyz * per_metre))
    with pytest.raises(ArtifactNotFound):
        find_recordings([folder], layout, tmp_path / "none.toml")


def test_kinect_arrays_without_skeleton_toml_are_in_the_sensors_space(tmp_path: Path) -> None:
    xyz = np.random.default_rng(0).normal(size=(2, 9, 25, 3)).astype(np.float32)
    np.savez(tmp_path / "two.npz", xyz=xyz)
    np.testing.assert_array_equal(only(find_recordings([tmp_path], KINECT_V2)).xyz, xyz)
    np.save(tmp_path / "other.npy", xyz[:, :, :17])
    bad = [found for found in clips(find_recordings([tmp_path], KINECT_V2)) if isinstance(found, Refusal)]
    assert [found.reason for found in bad] == ["has shape (2, 9, 17, 3): 17 joints, but layout kinect-v2 has 25"]


def test_another_layout_is_refused_in_one_line(ntu: Path, own: Path) -> None:
    layout = read_skeleton_toml(own / "skeleton.toml").layout
    with pytest.raises(
        SkelepipeError, match=r"no recording of .* skeletons there \(kinect-v2 skeletons, expected .*: 4"
    ):
        find_recordings([ntu], layout)
    with pytest.raises(ArtifactError, match=r"own: holds .* skeletons \(19 joints\), expected kinect-v2 \(25 joints"):
        find_recordings([own], KINECT_V2)
    with pytest.raises(ArtifactError, match=r"skeleton\.toml: holds"):
        find_recordings([ntu], KINECT_V2, own / "skeleton.toml")
    found = find_recordings([sorted(ntu.glob("*.skeleton"))[0], own], layout)
    assert ["kinect-v2 skeletons, expected" in bad.reason for bad in found.refused] == [True]
    assert len([clip for clip in clips(found) if isinstance(clip, Clip)]) == 12


def test_a_layout_with_another_name_and_the_same_joints_is_accepted(own: Path) -> None:
    layout = replace(read_skeleton_toml(own / "skeleton.toml").layout, name="our lab")
    given = [clip for clip in clips(find_recordings([own], layout)) if isinstance(clip, Clip)]
    assert len(given) == 12


def test_a_missing_or_empty_root_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactNotFound):
        find_recordings([tmp_path / "none"], KINECT_V2)
    with pytest.raises(SkelepipeError, match=r"no recording of kinect-v2 skeletons there \(nothing at all\)"):
        find_recordings([tmp_path], KINECT_V2)


def test_a_link_to_itself_is_refused_and_the_others_are_read(ntu: Path, tmp_path: Path) -> None:
    shutil.copy(sorted(ntu.glob("*.skeleton"))[0], tmp_path)
    (tmp_path / "loop.skeleton").symlink_to("loop.skeleton")
    found = find_recordings([tmp_path], KINECT_V2)
    results = [list(process_recording(entry, reader, load_recipe())) for reader, entry in found.entries]
    refusals = [result for (result, *_) in results if isinstance(result, Refusal)]
    assert len(results) == 2
    assert [refusal.reason for refusal in refusals] == ["cannot be read: Too many levels of symbolic links"]
