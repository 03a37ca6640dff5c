"""docs/architecture.md draws the program as it is: every command, artifact, function and room for a library."""

import importlib
import re
from pathlib import Path

import pytest

from cli import main
from pipeline.artifacts import schemas
from pipeline.artifacts.validation import DocumentSpec
from tests.house import test_architecture

PAGE = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", sorted(main.commands))
def test_every_command_is_in_the_picture_or_beside_it(command: str) -> None:
    text = PAGE.partition("| what |")[0]
    assert re.search(rf"(?<![\w-]){command}(?![\w-])", text)


def test_every_sealed_kind_of_artifact_is_in_the_table_and_no_other() -> None:
    kinds = {form.kind for form in vars(schemas).values() if isinstance(form, DocumentSpec)}
    assert set(re.findall(r"`(skelepipe-\w+)`", PAGE)) == kinds


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`((?:pipeline|trainer)\.\w+\.\w+)`", PAGE))))
def test_every_function_that_it_names_is_there(name: str) -> None:
    module, _, function = name.rpartition(".")
    assert callable(getattr(importlib.import_module(module), function))


def test_every_library_that_has_a_room_is_in_the_list_and_no_other() -> None:
    rows = re.findall(r"(?m)^\| ((?:`\w+`(?:, )?)+) \|", PAGE.partition("| library |")[2])
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(test_architecture.OWNERS)
