"""Split lists as they are published, misspelling included."""

from pathlib import Path

import pytest

from pipeline.errors import ArtifactNotFound, ConfigError
from pipeline.store.split_file import read_split_file

AS_SHIPPED = "Training videos: \n0002-L, 0002-M, 0002-R\nValidataion videos: \n0291-L, 0291-M\n"
SIDES = ("0002-L", "0002-M", "0002-R"), ("0291-L", "0291-M")


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "cross-subject.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("text", [
    AS_SHIPPED,
    AS_SHIPPED.replace("\n", "\r\n"),
    AS_SHIPPED.replace("-R\n", "-R, \n").replace("0291-M\n", "0291-M,"),
    "\ufeff" + AS_SHIPPED,
    AS_SHIPPED.replace("Validataion", "Validation"),
    AS_SHIPPED.replace("Validataion", "VALIDATION"),
    AS_SHIPPED.replace("Validataion videos", "Test"),
    AS_SHIPPED.replace("videos: \n", "videos:"),
    AS_SHIPPED.replace(", ", ","),
    AS_SHIPPED.replace(", ", ",\n"),
    AS_SHIPPED.replace(", ", "\n"),
    "\n\n" + AS_SHIPPED.replace("\nVal", "\n\n\nVal"),
])  # fmt: skip
def test_spellings_separators_and_line_ends_change_nothing(tmp_path: Path, text: str) -> None:
    lists = read_split_file(write(tmp_path, text))
    assert (lists.train, lists.test) == SIDES


def test_names_are_of_any_data_set(tmp_path: Path) -> None:
    lists = read_split_file(
        write(tmp_path, "Training videos:\nA01N01-L, s01_e02.3\nValidataion videos:\nS001C001P001R001A001\n")
    )
    assert lists.train == ("A01N01-L", "s01_e02.3")
    assert lists.test == ("S001C001P001R001A001",)


@pytest.mark.parametrize(("text", "says"), [
    (AS_SHIPPED.replace("0291-M", "0002-L"), ":4: 0002-L is already in line 2"),
    (AS_SHIPPED.replace("0002-M", "0002-L"), ":2: 0002-L is already in line 2"),
    (AS_SHIPPED.replace("0002-M,", "0002-M"), ":2: '0002-M 0002-R' is not a recording name"),
    (AS_SHIPPED.replace("0002-M", "../0002-M"), ":2: '../0002-M' is not a recording name"),
    ("0002-L\n" + AS_SHIPPED, ":1: expected the header `Training videos:`, found '0002-L'"),
    ("Training videos:\n0002-L\n", "no test names"),
    ("Validataion videos:\n0002-L\n", "no train names"),
    ("Training videos:\n\nValidataion videos:\n0002-L\n", "no train names"),
    (AS_SHIPPED + AS_SHIPPED.replace("02", "03"), ":5: a second list of train names"),
    (AS_SHIPPED + "Test videos:\n0300-L\n", ":5: a second list of test names"),
    ("", "no train names"),
    (AS_SHIPPED.encode("utf-16"), "UTF-16"),
    (b"PK\x03\x04", "zip"),
])  # fmt: skip
def test_a_list_that_leaves_doubt_is_refused_with_its_line(tmp_path: Path, text: str | bytes, says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_split_file(write(tmp_path, text))
    assert says in str(refused.value)
    assert "cross-subject.txt" in str(refused.value)


def test_no_such_list(tmp_path: Path) -> None:
    with pytest.raises(ArtifactNotFound):
        read_split_file(tmp_path / "cross-view.txt")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_split_file(tmp_path)


@pytest.mark.parametrize("mark", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
def test_lines_are_counted_as_editors_count_them(tmp_path: Path, mark: str) -> None:
    text = AS_SHIPPED.replace("0002-M", f"00{mark}02-M")
    with pytest.raises(ConfigError, match=r":2: .* is not a recording name"):
        read_split_file(write(tmp_path, text))
