"""Read a split file: published lists of training and test recordings, by name.

Those of PKU-MMD have four lines: `Training videos:`, comma-separated names, `Validataion videos:` (sic), names. The
second list is used as the test set in the literature, and so it is here.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ArtifactNotFound, ConfigError
from pipeline.files.regular_files import read_bytes
from pipeline.sources.text_buffer import explain_foreign_format

_HEADER = re.compile(rb"\s*(train|val|test)[a-z]*( +[a-z]+)?\s*:", re.IGNORECASE)
_NAME = re.compile(r"\w[\w.-]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class SplitLists:
    """Names of recordings or single clips, in file order."""

    train: tuple[str, ...]
    test: tuple[str, ...]


def read_split_file(path: Path) -> SplitLists:
    """Read a list of training and test names.

    A section begins with a header that starts like Training, Validation or Test and ends with a colon. Names follow, on
    one or several lines, separated by commas or line ends. Blanks, empty names, CR LF and a byte order mark are
    ignored.

    Raises:
        ArtifactNotFound: there is no such file.
        ConfigError: it cannot be read; a section is missing, empty or repeated; a name is invalid or repeated.
    """
    try:
        text = read_bytes(path).removeprefix(b"\xef\xbb\xbf")
    except FileNotFoundError as error:
        raise ArtifactNotFound(path, "name the data set's list, such as Split/cross-subject.txt") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    if problem := explain_foreign_format(text):
        raise ConfigError(f"{path}: {problem}")
    sections: dict[str, list[str]] = {}
    first_line: dict[str, int] = {}
    names: list[str] | None = None
    for number, line in enumerate(text.splitlines(), 1):  # as bytes, because str.splitlines also splits at form feeds
        rest = line
        if header := _HEADER.match(line):
            side = "train" if header[1].lower() == b"train" else "test"
            if side in sections:
                raise ConfigError(f"{path}:{number}: a second list of {side} names; join them under one header")
            names = sections[side] = []
            rest = line[header.end() :]
        for field in filter(None, map(bytes.strip, rest.split(b","))):
            name = field.decode("utf-8", "backslashreplace")
            if names is None:
                raise ConfigError(f"{path}:{number}: expected the header `Training videos:`, found {name[:40]!r}")
            if not _NAME.fullmatch(name):
                raise ConfigError(
                    f"{path}:{number}: {name[:40]!r} is not a recording name; "
                    "expected comma-separated names like 0002-L"
                )
            if name in first_line:
                raise ConfigError(f"{path}:{number}: {name} is already in line {first_line[name]}; remove one of them")
            first_line[name] = number
            names.append(name)
    for side, header_line in (("train", "Training videos:"), ("test", "Validation videos:")):
        if not sections.get(side):
            raise ConfigError(f"{path}: no {side} names; expected them below the header `{header_line}`")
    return SplitLists(tuple(sections["train"]), tuple(sections["test"]))
