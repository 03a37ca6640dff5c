"""Messages may quote files, and end up on terminals and in JSON."""

import pickle

from pipeline.errors import LONGEST_TEXT, ConfigError, RawFileError


def test_a_message_is_one_line_that_can_be_printed_whatever_it_quotes() -> None:
    said = str(ConfigError("c.toml: a\nb\x1b[31m\0\u202e\ud800 é: wrong"))
    assert said == r"c.toml: a\nb\x1b[31m\x00\u202e\ud800 é: wrong"
    assert said.encode()


def test_a_message_keeps_its_beginning_and_its_end_however_much_it_quotes() -> None:
    said = str(ConfigError(f"c.toml: {'x' * 100_000}; take another name"))
    assert len(said) <= LONGEST_TEXT
    assert said.startswith("c.toml: xxx")
    assert said.endswith("xxx; take another name")


def test_the_reason_of_a_refusal_is_such_a_line_too() -> None:
    error = RawFileError("there", 3, "key a\nb is unknown")
    assert error.reason == r"key a\nb is unknown"
    assert str(error) == r"there:3: key a\nb is unknown"


def test_what_a_message_says_survives_the_way_out_of_a_worker() -> None:
    assert str(pickle.loads(pickle.dumps(ConfigError("a\nb")))) == r"a\nb"
