"""Validate a JSON document: its kind, format version and fields.

A document with another format version, a missing field or a field of another type is refused; the error names the
field.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import ArtifactError, explain

FORMAT_VERSION = 1


class DocumentFields(BaseModel):
    """Required fields with their types; other fields are ignored."""

    model_config = ConfigDict(strict=True)


@dataclass(frozen=True)
class DocumentSpec:
    """The kind, format version and fields that a JSON document must have."""

    kind: str
    """The value of its field `kind`."""
    fields: type[DocumentFields]
    """Its fields besides `kind`, `format_version` and `digest`."""
    remedy: str
    """What the user can do about an invalid document."""
    version: int = FORMAT_VERSION
    older_versions: tuple[int, ...] = ()
    """Format versions that can be read, too; new documents have `version`."""
    make: str = ""
    """The command that creates such an artifact, if there is one."""

    def check_kind(self, path: Path, plain: Any) -> None:
        """Check only the kind of a document.

        Raises:
            ArtifactError: it is of another kind.
        """
        if not isinstance(plain, Mapping) or plain.get("kind") != self.kind:
            raise ArtifactError(f"{path}: is not a {self.kind}")

    def check(self, path: Path, plain: Any) -> None:
        """Check kind, format version and fields of a document.

        Raises:
            ArtifactError: it is of another kind or version, lacks a field, or has one of another type; the message
                names it.
        """
        self.check_kind(path, plain)
        found = plain.get("format_version")
        readable = (*self.older_versions, self.version)
        if type(found) is not int or found not in readable:  # 1.0 and true are equal to 1
            problem = "has no format_version" if found is None else f"has format version {found!r}"
            versions = " and ".join(map(str, readable))
            raise ArtifactError(f"{path}: {problem}, this skelepipe reads {versions}; {self.remedy}")
        self.check_fields(path, plain)

    def check_fields(self, path: Path, plain: Mapping[str, Any]) -> None:
        """Check only the fields, for a document whose version is stored in another one.

        Raises:
            ArtifactError: as `check`.
        """
        try:
            self.fields.model_validate(plain)
        except ValidationError as error:
            raise ArtifactError(f"{path}: field {explain(error.errors()[:1])}; {self.remedy}") from error
