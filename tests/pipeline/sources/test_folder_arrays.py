import io
import pickle
import string
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.errors import RawFileError
from pipeline.files.raw_files import RawFile
from pipeline.skeleton.layout import Layout
from pipeline.sources.folder import arrays
from pipeline.sources.folder.arrays import Bodies
from pipeline.sources.folder.skeleton_toml import FolderSpec

JOINTS = ("hip", "chest", "head_tip", "left", "right")
V = len(JOINTS)
Array = NDArray[np.generic]


def spec(per_metre: int = 1) -> FolderSpec:
    layout = Layout(
        name="small",
        joints=JOINTS,
        parents=(-1, 0, 1, 1, 1),
        parts={"all": (0, 1, 2, 3, 4)},
        centre=1,
        spine=(0, 2),
        shoulders=(3, 4),
    )
    path = Path("skeleton.toml")
    return FolderSpec(
        path=path, layout=layout, per_metre=per_metre, up="y", frames_per_second=None, classes=None, splits={}
    )


def read(path: Path, key: str = "", per_metre: int = 1) -> Bodies:
    with arrays.open_arrays(RawFile(path, "", path.stat().st_size), spec(per_metre)) as bodies:
        return bodies(key)


def motion(*shape: int) -> Array:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def npy(path: Path, array: Array) -> Path:
    np.save(path.with_suffix(".npy"), array)
    return path.with_suffix(".npy")


def npz(path: Path, array: Array) -> Path:
    np.savez_compressed(path.with_suffix(".npz"), anything=array)
    return path.with_suffix(".npz")


def h5(path: Path, array: Array) -> Path:
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        file.create_dataset("some/where", data=array, compression="gzip", chunks=True)
    return path.with_suffix(".h5")


def table(bodies: Array, names: tuple[str, ...] = JOINTS, frame: int | None = None, mark: str = ",") -> str:
    """Format bodies (M, T, V, C) as .csv: a row per frame or, with `frame`, a row per body and frame and a header."""
    axes = "xyz"[: bodies.shape[3]]
    rows = [[repr(float(x)) for x in wide.ravel()] for wide in bodies.swapaxes(0, 1)]
    header: list[list[str]] = []
    if frame is not None:
        header = [["frame", "body", *(f"{name}_{axis}" for name in names for axis in axes)]]
        rows = [
            [str(frame + t), str(m), *(repr(float(x)) for x in bodies[m, t].ravel())]
            for t in range(bodies.shape[1])
            for m in range(len(bodies))
        ]
    return "".join(mark.join(row) + "\n" for row in [*header, *rows])


def csv(path: Path, array: Array) -> Path:
    bodies = array[None] if array.ndim == 3 else array
    path.with_suffix(".csv").write_text(table(bodies, frame=1 if len(bodies) > 1 else None))
    return path.with_suffix(".csv")


FORMS = (npy, npz, h5, csv)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 99),
    bodies=st.integers(0, 3),
    frames=st.integers(1, 9),
    axes=st.sampled_from([2, 3]),
    per_metre=st.sampled_from([1, 100, 1000]),
)
def test_every_file_format_and_unit_gives_the_same_numbers(
    tmp_path_factory: pytest.TempPathFactory, seed: int, bodies: int, frames: int, axes: int, per_metre: int
) -> None:
    rng = np.random.default_rng(seed)
    metres = (rng.normal(size=(max(bodies, 1), frames, V, axes)) + 9).astype(np.float32)
    metres[rng.random(metres.shape[:3]) < 0.1] = 0
    metres[rng.random(metres.shape[:3]) < 0.1] = np.nan
    written = metres.astype(np.float64) * per_metre if per_metre > 1 else metres
    folder = tmp_path_factory.mktemp("forms")
    for form in FORMS:
        xyz = read(form(folder / "clip", written if bodies else written[0]), per_metre=per_metre).xyz
        assert xyz.dtype == np.float32
        assert xyz.shape == (*metres.shape[:3], 3)
        np.testing.assert_array_equal(xyz[..., :axes], np.nan_to_num(metres))
        assert axes == 3 or not xyz[..., 2].any()


@pytest.mark.parametrize("form", [npy, npz, h5])
@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8", ">f8", "i2", "u1", ">i8"])
def test_any_dtype_of_real_numbers_is_read(tmp_path: Path, form: Callable[..., Path], dtype: str) -> None:
    array = (10 * np.abs(motion(6, V, 3))).astype(dtype)
    np.testing.assert_array_equal(read(form(tmp_path / "clip", array)).xyz[0], array.astype(np.float32))


@pytest.mark.parametrize("joint", [0, 1, 2])
def test_the_joint_that_a_body_is_centred_on_is_not_missing(tmp_path: Path, joint: int) -> None:
    array = motion(2, 9, V, 3)
    array[0] -= array[0, :, joint : joint + 1]
    array[:, 4] = 0
    xyz = read(npy(tmp_path / "clip", array)).xyz
    np.testing.assert_allclose(xyz, array, rtol=0, atol=1e-8)
    seen = (xyz != 0).any(axis=3)
    assert seen[:, np.arange(9) != 4].all()
    assert not seen[:, 4].any()


@pytest.mark.parametrize("missing", [0.0, np.nan])
@pytest.mark.parametrize("joints", [[3], [0, 1], [0]])
def test_a_joint_that_is_never_seen_stays_missing(tmp_path: Path, missing: float, joints: list[int]) -> None:
    array = motion(9, V, 3) / 10 + 3 * (joints == [0])  # a body that lies elsewhere is not centred on a joint
    array[:, joints] = missing
    xyz = read(npy(tmp_path / "clip", array)).xyz[0]
    assert not xyz[:, joints].any()
    np.testing.assert_array_equal(xyz, np.nan_to_num(array))


@pytest.mark.parametrize(("bodies", "axes"), [(1, 3), (2, 3), (1, 2), (2, 2), (5, 2)])
def test_rows_of_an_array_are_frames_with_body_after_body(tmp_path: Path, bodies: int, axes: int) -> None:
    array = motion(7, bodies, V, axes)
    xyz = read(npy(tmp_path / "clip", array.reshape(7, -1))).xyz
    np.testing.assert_array_equal(xyz[..., :axes], array.swapaxes(0, 1))


def test_a_fortran_order_array_is_read(tmp_path: Path) -> None:
    array = np.asfortranarray(motion(2, 6, V, 3))
    np.testing.assert_array_equal(read(npy(tmp_path / "clip", array)).xyz, array)


@pytest.mark.parametrize("form", [npy, npz, h5])
@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((9, 4, 3)), r"\(9, 4, 3\): 4 joints, but layout .* has 5"),
        (np.zeros((2, 9, 25, 3)), r"\(2, 9, 25, 3\): 25 joints, but layout .* has 5"),
        (np.zeros((9, 12)), "12 numbers a frame, 4 joints in 3-D or 6 in 2-D, but layout .* has 5"),
        (np.zeros((9, 5, 4)), r"shape \(9, 5, 4\), expected \(T, 5, 3\)"),
        (np.zeros((3, 9, 5, 1)), r"shape \(3, 9, 5, 1\), expected \(T, 5, 3\)"),
        (np.zeros(15), r"shape \(15,\), expected"),
        (np.zeros(()), r"shape \(\), expected"),
        (np.zeros((0, 5, 3)), r"\(0, 5, 3\): no frame"),
        (np.zeros((0, 15)), r"\(0, 15\): no frame"),
        (np.zeros((0, 9, 5, 3)), r"\(0, 9, 5, 3\): no body"),
        (np.zeros((60, 2, 5, 3)), "60 bodies in 2 frames; bodies come first"),
        (np.zeros((9, 5, 3), complex), "holds complex128, expected numbers"),
        (np.zeros((9, 5, 3), bool), "holds bool, expected numbers"),
        (np.zeros((9, 5, 3), "S3"), "holds .S3, expected numbers"),
    ],
)
def test_arrays_that_are_no_recording_are_refused(
    tmp_path: Path, form: Callable[..., Path], array: Array, message: str
) -> None:
    if form is h5 and not array.ndim:
        return  # h5py has no chunked scalars
    path = form(tmp_path / "clip", array)
    with pytest.raises(RawFileError, match=f"clip{path.suffix}: .*{message}"):
        read(path)


class Trap:
    """An object that makes a file when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return pytest.fail, ("unpickled",)


@pytest.mark.parametrize("form", FORMS)
def test_bodies_that_are_too_large_are_refused(tmp_path: Path, form: Callable[..., Path]) -> None:
    array = 150 * motion(2, 9, V, 2)
    array[1, 4:] = np.nan  # neither who is absent
    array[0, 3, 2] = 1e5  # nor a wild joint makes a body large
    path = form(tmp_path / "clip", array)
    assert read(path, per_metre=100).xyz.shape == (2, 9, V, 3)
    with pytest.raises(RawFileError, match=f"clip{path.suffix}: .*bodies are [0-9.]+ m across; set the units"):
        read(path)


@pytest.mark.parametrize("form", FORMS)
def test_a_joint_at_the_end_of_the_world_is_refused_with_its_value(tmp_path: Path, form: Callable[..., Path]) -> None:
    array = motion(2, 9, V, 2)
    array[1, 3, 2, 1] = -3e38
    with pytest.raises(
        RawFileError, match=r"body 1, frame 3 \(from 0\): y of .* is -3e\+38 m, expected at most 10000 m"
    ):
        read(form(tmp_path / "clip", array))
    array[1, 3, 2, 1] = 1e4
    assert read(form(tmp_path / "clip", array)).xyz.max() == 1e4


@pytest.mark.parametrize("form", [npy, npz])
def test_nothing_is_unpickled(tmp_path: Path, form: Callable[..., Path]) -> None:
    path = form(tmp_path / "clip", np.array([Trap()], object))
    with pytest.raises(RawFileError, match="holds Python objects, which are not read"):
        read(path)
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(RawFileError, match="cannot be read as"):
        read(path)


def test_the_array_is_named_or_unambiguous(tmp_path: Path) -> None:
    clip, other = motion(4, V, 3), motion(5, V, 3)
    np.savez(tmp_path / "usual.npz", keypoints=clip, score=other, names=np.array(["a"]))
    np.savez(tmp_path / "two.npz", xyz=clip, data=other)
    np.testing.assert_array_equal(read(tmp_path / "usual.npz").xyz[0], clip)
    np.testing.assert_array_equal(read(tmp_path / "usual.npz", "score").xyz[0], other)
    with pytest.raises(
        RawFileError, match=r"two.npz: holds 2 arrays \(xyz, data\); name the one to use in .* column key"
    ):
        read(tmp_path / "two.npz")
    with pytest.raises(RawFileError, match=r"has no array 'xy' .did you mean xyz.*; it has xyz, data"):
        read(tmp_path / "two.npz", "xy")
    with pytest.raises(RawFileError, match="has no array 'xyz'; a file of this kind has one"):
        read(npy(tmp_path / "clip", clip), "xyz")


def test_hdf5_datasets_are_selected_by_path(tmp_path: Path) -> None:
    clip = motion(4, V, 3)
    with h5py.File(tmp_path / "all.hdf5", "w") as file:
        file["a/one"] = clip
        file["a/two"] = 2 * clip
    np.testing.assert_array_equal(read(tmp_path / "all.hdf5", "/a/two").xyz[0], 2 * clip)
    with pytest.raises(RawFileError, match="has no array 'a'; it has a/one, a/two"):
        read(tmp_path / "all.hdf5", "a")


def test_hdf5_links_to_other_files_are_not_followed(tmp_path: Path) -> None:
    h5(tmp_path / "secret", motion(4, V, 3))
    (tmp_path / "raw.bin").write_bytes(motion(4, V, 3).tobytes())
    with h5py.File(tmp_path / "clip.h5", "w") as file:
        file["link"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "some/where")
        file.create_dataset("outside", (4, V, 3), "f4", external=[(str(tmp_path / "raw.bin"), 0, h5py.h5f.UNLIMITED)])
        source = h5py.VirtualSource(str(tmp_path / "secret.h5"), "some/where", shape=(4, V, 3))
        virtual = h5py.VirtualLayout((4, V, 3), "f4")
        virtual[:] = source
        file.create_virtual_dataset("virtual", virtual)
    for key in ("link", "outside", "virtual"):
        with pytest.raises(RawFileError, match=f"has no array '{key}'; it has none"):
            read(tmp_path / "clip.h5", key)


def test_keys_that_are_not_utf8_are_shown_escaped(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "clip.h5", "w") as file:
        file[b"a\xff"] = np.zeros((4, V, 3), np.float32)
        file["b"] = np.zeros((4, V, 3), np.float32)
    with pytest.raises(RawFileError, match=r"has no array 'c'; it has a\\xff, b"):
        read(tmp_path / "clip.h5", "c")
    assert read(tmp_path / "clip.h5", "a\\xff").xyz.shape == (1, 4, V, 3)


@pytest.mark.parametrize("form", [npy, npz, h5])
@settings(max_examples=60, deadline=None)
@given(at=st.floats(0, 1), byte=st.integers(1, 255), cut=st.booleans())
def test_a_damaged_file_is_refused_or_read_but_never_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, form: Callable[..., Path], at: float, byte: int, cut: bool
) -> None:
    path = form(tmp_path_factory.mktemp("damaged") / "clip", motion(4, V, 3))
    whole = bytearray(path.read_bytes())
    position = min(int(at * len(whole)), len(whole) - 1)
    if cut:
        del whole[position:]
    else:
        whole[position] ^= byte
    path.write_bytes(whole)
    try:
        xyz = read(path).xyz
    except RawFileError:
        return
    assert xyz.shape[2:] == (V, 3)
    assert not cut or form is h5


def test_bytes_after_an_array_are_ignored(tmp_path: Path) -> None:
    path = npy(tmp_path / "clip", motion(4, V, 3))
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(RawFileError, match="more data after its array"):
        read(path)


def test_a_zip_without_arrays_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "clip.npz", "w"):
        pass
    with pytest.raises(RawFileError, match=r"holds 0 arrays \(none\)"):
        read(tmp_path / "clip.npz")


def csv_of(folder: Path, text: str | bytes) -> Bodies:
    (folder / "clip.csv").write_bytes(text.encode() if isinstance(text, str) else text)
    return read(folder / "clip.csv")


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_csv_is_read_as_spreadsheets_write_it(tmp_path: Path, mark: str, end: str, start: str) -> None:
    bodies = motion(2, 4, V, 3)
    text = start + table(bodies, mark=mark).replace("\n", end) + end
    np.testing.assert_array_equal(csv_of(tmp_path, text).xyz, bodies)


def test_a_header_defines_the_order_of_the_joints(tmp_path: Path) -> None:
    bodies = motion(2, 4, V, 3)
    order = [3, 0, 4, 2, 1]
    names = [f"{JOINTS[joint].upper()}_{axis}" for joint in order for axis in "zxy"]
    rows = bodies[:, :, order][..., [2, 0, 1]].swapaxes(0, 1).reshape(4, -1)
    lines = [
        ",".join(["", *names, *names]),
        *(f"{n}," + ",".join(map(repr, row.tolist())) for n, row in enumerate(rows)),
    ]
    np.testing.assert_array_equal(csv_of(tmp_path, "\n".join(lines)).xyz, bodies)


def test_a_header_without_joint_names_is_ignored(tmp_path: Path) -> None:
    bodies = motion(1, 4, V, 3)
    header = ",".join(f"{letter}{axis}" for letter in string.ascii_lowercase[:V] for axis in "xyz")
    np.testing.assert_array_equal(csv_of(tmp_path, f"{header}\n{table(bodies)}").xyz, bodies)


def test_columns_frame_and_body_position_the_rows(tmp_path: Path) -> None:
    bodies = motion(2, 5, V, 3)
    lines = table(bodies, frame=7).splitlines()
    found = csv_of(tmp_path, "\n".join([lines[0], *lines[:0:-1]]))
    np.testing.assert_array_equal(found.xyz, bodies)
    assert found.first == 7
    found = csv_of(tmp_path, "\n".join(line for n, line in enumerate(lines) if n not in (4, 7, 8)))
    bodies[1, 1] = bodies[:, 3] = 0
    np.testing.assert_array_equal(found.xyz, bodies)


def test_empty_cells_are_missing(tmp_path: Path) -> None:
    cells = [str(n) for n in range(1, 3 * V + 1)]
    cells[4] = " "
    xyz = csv_of(tmp_path, ",".join(cells) + "\n" + "," * (3 * V - 1) + "\n").xyz[0]
    assert np.delete(xyz[0], 1, axis=0).all()
    assert not xyz[0, 1].any()
    assert not xyz[1].any()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no row of numbers"),
        ("hip_x,hip_y\n", "has no row of numbers"),
        ("1,2,3\n4,5,6\n", ":1: 3 numbers a frame, 1 joints in 3-D .*, but layout .* has 5 joints"),
        (table(motion(1, 3, V, 3))[:-30], r":3: \d+ fields, the first line has 15"),
        (table(motion(1, 3, V, 3)) + ",".join(["oops"] * 15), ":4: 'oops' is not a number"),
        (";".join(["1.5"] * 15) + "\n" + ";".join(["1,5"] * 15), ":2: '1,5' is not a number; write a decimal point"),
        ('1,"2\n', "is no text of numbers"),
        (b"\xff\xfe1\x00,\x00", "is no text of numbers"),
        (table(motion(1, 3, V, 3), ("hip", "chest", "head", "left", "right"), 0),
         ":1: its header names 5 joints .* has 5 joints; not in the layout: head_x, head_y, head_z; "
         "not in the header: head_tip_x, head_tip_y, head_tip_z"),
        (table(motion(1, 3, 6, 3), (*JOINTS, "tail"), 0), ":1: its header names 6 joints .* has 5 joints"),
        (table(motion(2, 3, V, 3), frame=0) + table(motion(2, 3, V, 3), frame=0).splitlines()[1],
         ":8: repeats a frame .* of an earlier line"),
        (table(motion(1, 3, V, 3), frame=0).replace("\n1,", "\n1.5,"), r":3: frame 1.5 is not a whole number"),
        (table(motion(1, 3, V, 3), frame=0).replace("\n1,0,", "\n1,,"), ":3: body nan is not a whole number"),
        (table(motion(1, 3, V, 3), frame=0).replace("\n2,", "\n99999999,"), "over a span of 100000000, with 3 rows"),
        (table(motion(1, 3, V, 3), frame=0).replace("frame", "time_x"), "its header names 6 joints"),
        (table(motion(1, 3, V, 3), tuple("abcde"), 0).replace("frame", ""), "has no column frame"),
    ],
)  # fmt: skip
def test_an_invalid_csv_is_refused_with_its_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(RawFileError, match=rf"clip\.csv.*{message}"):
        csv_of(tmp_path, text)


def test_an_empty_or_foreign_file_is_refused(tmp_path: Path) -> None:
    for name, text, message in (
        ("clip.npy", b"", "cannot be read as .npy: it is empty"),
        ("clip.npz", b"<html>", "cannot be read as .npz: it begins with b'<html>'"),
        ("clip.h5", b"<html>", "cannot be read as .h5"),
        ("clip.h5", b"", "cannot be read as .h5"),
    ):
        (tmp_path / name).write_bytes(text)
        with pytest.raises(RawFileError, match=message):
            read(tmp_path / name)


def test_a_file_that_has_disappeared_is_reported(tmp_path: Path) -> None:
    with (
        pytest.raises(RawFileError, match=r"clip.npy: cannot be read: No such file"),
        arrays.open_arrays(RawFile(tmp_path / "clip.npy"), spec()),
    ):
        pass


def test_an_npz_with_suffix_npy_and_the_reverse_are_read(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, motion(3, V, 3))
    (tmp_path / "clip.npy").write_bytes(buffer.getvalue())
    np.testing.assert_array_equal(read(tmp_path / "clip.npy").xyz[0], motion(3, V, 3))


@pytest.mark.parametrize("number", ["1_0", "\u0661", "\uff11", "1_000.5"])
def test_numbers_that_only_python_accepts_are_refused(tmp_path: Path, number: str) -> None:
    text = table(motion(1, 3, V, 3)) + ",".join([number, *["0.5"] * 14])
    with pytest.raises(RawFileError, match=r"clip\.csv:4: .* is not a number"):
        csv_of(tmp_path, text)


def test_a_huge_span_of_frame_numbers_is_refused_without_memory(tmp_path: Path) -> None:
    header, *lines = table(motion(50, 1, V, 3), frame=0).splitlines()
    lines[1::2] = [line.replace("0,", "99999,", 1) for line in lines[1::2]]
    tracemalloc.start()
    with pytest.raises(RawFileError, match="over a span of 100000 of 50 bodies, with 50 rows"):
        csv_of(tmp_path, "\n".join([header, *lines]))
    assert tracemalloc.get_traced_memory()[1] < 1 << 22
    tracemalloc.stop()


@pytest.mark.parametrize("shape", ["(99999999999, 5, 3)", "(3, 5, 3)", "(5, 5, 3)", "(-4, 5, 3)", "(4000000000, 5, 0)"])
@pytest.mark.parametrize("packed", [False, True])
def test_an_array_with_a_wrong_size_is_refused(tmp_path: Path, shape: str, packed: bool) -> None:
    path = npy(tmp_path / "clip", motion(4, V, 3))
    text = path.read_bytes().replace(b"(4, 5, 3), }" + b" " * (len(shape) - 9), f"{shape}, }}".encode())
    assert shape.encode() in text
    path.write_bytes(text)
    if packed:
        with zipfile.ZipFile(tmp_path / "clip.npz", "w") as archive:
            archive.write(path, "xyz.npy")
        path = tmp_path / "clip.npz"
    tracemalloc.start()
    with pytest.raises(RawFileError, match=r"more data after its array|it is truncated"):
        read(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 22
    tracemalloc.stop()


def test_a_zip_bomb_is_refused(tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(tmp_path / "clip.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("xyz.npy", "w") as out,
    ):
        np.lib.format.write_array_header_1_0(out, {"descr": "<f4", "fortran_order": False, "shape": (4_500_000, V, 3)})
        for _ in range(270):
            out.write(bytes(1_000_000))
    with pytest.raises(RawFileError, match=r"xyz.npy: 270000128 bytes out of \d+, as in zip bombs"):
        read(tmp_path / "clip.npz")


def test_a_huge_hdf5_array_without_data_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "clip.h5", "w") as file:
        file.create_dataset("xyz", (10**9, V, 3), "f4", chunks=(1000, V, 3))
    with pytest.raises(RawFileError, match=r"an array of \(1000000000, 5, 3\) out of 0 bytes"):
        read(tmp_path / "clip.h5")


def test_a_gigantic_array_header_is_refused(tmp_path: Path) -> None:
    path = npy(tmp_path / "clip", motion(4, V, 3))
    path.write_bytes(path.read_bytes().replace(b"NUMPY\x01\x00", b"NUMPY\x02\x00"))
    tracemalloc.start()
    with pytest.raises(RawFileError, match=r"it claims a header of \d{9} bytes in a file of 368"):
        read(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 22
    tracemalloc.stop()
