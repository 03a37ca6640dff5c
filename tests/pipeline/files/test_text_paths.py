"""Paths may be given as text."""

from collections.abc import Sequence
from dataclasses import FrozenInstanceError, dataclass
from pathlib import Path

import pytest

from pipeline.files.text_paths import accept_text_paths, request_with_text_paths


@accept_text_paths
def function(path: Path, name: str, *, many: Sequence[Path] = (), maybe: Path | None = None) -> tuple[object, ...]:
    return path, name, many, maybe


@request_with_text_paths
@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    roots: tuple[Path, ...]
    name: str = "text"
    skeleton: Path | None = None


def test_text_becomes_a_path_where_a_path_is_expected() -> None:
    assert function("a/b", "c/d") == (Path("a/b"), "c/d", (), None)  # type: ignore[arg-type]
    found = function(Path("a"), "b", many=["c", Path("d")], maybe="e")  # type: ignore[list-item,arg-type]
    assert found == (Path("a"), "b", (Path("c"), Path("d")), Path("e"))
    assert function("a", name="b", many="raw")[2] == (Path("raw"),)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="missing a required argument: 'name'"):
        function("a")  # type: ignore[call-arg,arg-type]


def test_the_fields_of_a_request_are_converted() -> None:
    request = Request(roots="raw", skeleton="s.toml", name="n")  # type: ignore[arg-type]
    assert request == Request(roots=(Path("raw"),), skeleton=Path("s.toml"), name="n")
    assert Request(roots=["a", "b"]).roots == (Path("a"), Path("b"))  # type: ignore[arg-type]
    assert Request(roots=()).skeleton is None
    with pytest.raises(FrozenInstanceError):
        request.name = "other"  # type: ignore[misc]
    with pytest.raises(TypeError, match="got an unexpected keyword argument"):
        Request(roots="raw", root="raw")  # type: ignore[call-arg]
