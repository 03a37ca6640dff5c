"""Split lists as data sets publish them: which recordings train and which test, by name.

PKU-MMD's are four lines: `Training videos:`, names with commas between, `Validataion videos:` (so spelt), names. People
test on the second list, and so does skelepipe.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ArtifactNotFound, ConfigError
from pipeline.sources.text_buffer import explain_foreign_format

_HEADER = re.compile(rb"\s*(train|val|test)[a-z]*( +[a-z]+)?\s*:", re.IGNORECASE)
_NAME = re.compile(r"\w[\w.-]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class SplitLists:
    """Names of recordings, or of single clips, in the order of the file."""

    train: tuple[str, ...]
    test: tuple[str, ...]


def read_split_file(path: Path) -> SplitLists:
    """Read a list of training and test names.

    A section begins with a header whose first word begins like Training, Validation or Test and that ends with a colon.
    Names follow, in one line or several, with commas or line ends between; blanks, empty names, CR LF and a byte order
    mark change nothing.

    Raises:
        ArtifactNotFound: there is no such file.
        ConfigError: it cannot be read; a section is missing, empty or there twice; a name is none or a repeated one.
    """
    try:
        text = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except FileNotFoundError as error:
        raise ArtifactNotFound(path, "name the data set's list, such as Split/cross-subject.txt") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    if what := explain_foreign_format(text):
        raise ConfigError(f"{path}: {what}")
    sections: dict[str, list[str]] = {}
    first_at: dict[str, int] = {}
    names: list[str] | None = None
    for number, line in enumerate(text.splitlines(), 1):  # as bytes: of a text Python ends lines at form feeds, too
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
                    f"{path}:{number}: {name[:40]!r} is no name of a recording; names are like 0002-L, commas between"
                )
            if name in first_at:
                raise ConfigError(
                    f"{path}:{number}: {name} stands in line {first_at[name]} already; remove one of them"
                )
            first_at[name] = number
            names.append(name)
    for side, header_line in (("train", "Training videos:"), ("test", "Validation videos:")):
        if not sections.get(side):
            raise ConfigError(f"{path}: no {side} names; expected them below the header `{header_line}`")
    return SplitLists(tuple(sections["train"]), tuple(sections["test"]))
