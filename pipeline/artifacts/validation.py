"""What a JSON document must say of itself, and how one is held against that.

What says another format version, lacks a field or has one of another type is refused by the field's name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import ArtifactError, explain

FORMAT_VERSION = 1


class DocumentFields(BaseModel):
    """Fields with their types; others are left alone."""

    model_config = ConfigDict(strict=True)


@dataclass(frozen=True)
class DocumentSpec:
    """What a JSON document must say of itself."""

    kind: str
    """The value of its field `kind`."""
    fields: type[DocumentFields]
    """What it must hold beside `kind`, `format_version` and `digest`."""
    remedy: str
    """What to do about one that says otherwise."""
    version: int = FORMAT_VERSION
    make: str = ""
    """The command that makes one, where one does."""

    def check_kind(self, where: Path, plain: Any) -> None:
        """Look only at what a document says that it is.

        Raises:
            ArtifactError: it is something else.
        """
        if not isinstance(plain, Mapping) or plain.get("kind") != self.kind:
            raise ArtifactError(f"{where}: is not a {self.kind}")

    def check(self, where: Path, plain: Any) -> None:
        """Hold a document against its form.

        Raises:
            ArtifactError: it is of another kind or version, or lacks a field, or has one of another type; the text
                names it.
        """
        self.check_kind(where, plain)
        found = plain.get("format_version")
        if type(found) is not int or found != self.version:  # 1.0 and true are equal to 1
            said = "has no format_version" if found is None else f"has format version {found!r}"
            raise ArtifactError(f"{where}: {said}, this skelepipe reads {self.version}; {self.remedy}")
        self.check_fields(where, plain)

    def check_fields(self, where: Path, plain: Mapping[str, Any]) -> None:
        """The same without a look at the version, for a document beside the one that has it.

        Raises:
            ArtifactError: as `check`.
        """
        try:
            self.fields.model_validate(plain)
        except ValidationError as error:
            raise ArtifactError(f"{where}: field {explain(error.errors()[:1])}; {self.remedy}") from error
