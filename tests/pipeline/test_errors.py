"""Error messages quote files, and are shown on terminals and in JSON."""

import pickle

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import MAX_MESSAGE_CHARACTERS, ConfigError, RawFileError, explain


class Window(BaseModel):
    """A small model."""

    model_config = ConfigDict(extra="forbid", strict=True)
    width: int = Field(gt=0)
    label: str = "a"


def test_a_message_is_one_printable_line_whatever_it_quotes() -> None:
    message = str(ConfigError("c.toml: a\nb\x1b[31m\0\u202e\ud800 é: wrong"))
    assert message == r"c.toml: a\nb\x1b[31m\x00\u202e\ud800 é: wrong"
    assert message.encode()


def test_a_long_message_keeps_its_beginning_and_end() -> None:
    message = str(ConfigError(f"c.toml: {'x' * 100_000}; take another name"))
    assert len(message) <= MAX_MESSAGE_CHARACTERS
    assert message.startswith("c.toml: xxx")
    assert message.endswith("xxx; take another name")


def test_the_reason_of_a_raw_file_error_is_one_printable_line() -> None:
    error = RawFileError("there", 3, "key a\nb is unknown")
    assert error.reason == r"key a\nb is unknown"
    assert str(error) == r"there:3: key a\nb is unknown"


def test_a_message_survives_pickling_by_a_worker_process() -> None:
    assert str(pickle.loads(pickle.dumps(ConfigError("a\nb")))) == r"a\nb"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "'width' is missing"),
        ({"width": 0}, "width = 0: input should be greater than 0"),
        ({"width": {"a": 1}}, "width: input should be a valid integer"),
        ({"width": 1, "lable": "b"}, "'lable' is unknown (did you mean label?); it takes width, label"),
        (
            {"width": "1", "label": 2},
            "width = '1': input should be a valid integer; label = 2: input should be a valid",
        ),
    ],
)
def test_validation_errors_name_the_key_the_value_and_the_reason(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Window.model_validate(values)
    assert explain(caught.value.errors(), list(Window.model_fields)).startswith(message)
