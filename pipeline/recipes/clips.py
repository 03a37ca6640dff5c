"""Turn one recording into processed clips: read it, apply the recipe, refuse what cannot be used."""

from collections.abc import Iterator

from pipeline.errors import RawFileError, UnusableClip
from pipeline.recipes.recipe import Recipe, apply_recipe
from pipeline.skeleton.recording import Clip
from pipeline.sources.source import Entry, Reader, Reading, Refusal


def process_recording(entry: Entry, data: Reader, chosen: Recipe) -> Iterator[tuple[Reading, Clip] | Refusal]:
    """The clips of a recording as the recipe leaves them; what cannot be used is refused, the rest goes on."""
    try:
        for found in data.read(entry, chosen.frame_index):
            if isinstance(found, Refusal):
                yield found
                continue
            try:
                yield found, apply_recipe(chosen, found.recording)
            except UnusableClip as error:
                yield Refusal(name=found.recording.name, file=entry.file, line=0, reason=str(error))
    except RawFileError as error:
        yield Refusal(name=entry.name, file=entry.file, line=error.line, reason=error.reason)
