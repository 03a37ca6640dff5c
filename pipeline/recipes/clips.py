"""Turn one recording into processed clips: parse it, apply the recipe, refuse unusable clips."""

from collections.abc import Iterator

from pipeline.errors import RawFileError, UnusableClip
from pipeline.recipes.recipe import Recipe, apply_recipe
from pipeline.skeleton.recording import Clip
from pipeline.sources.source import Entry, Reader, Reading, Refusal


def process_recording(entry: Entry, reader: Reader, recipe: Recipe) -> Iterator[tuple[Reading, Clip] | Refusal]:
    """Yield the processed clips of a recording; a clip that cannot be used is a refusal, and the others follow."""
    try:
        for reading in reader.read(entry, recipe.frame_index):
            if isinstance(reading, Refusal):
                yield reading
                continue
            try:
                yield reading, apply_recipe(recipe, reading.recording)
            except UnusableClip as error:
                yield Refusal(name=reading.recording.name, file=entry.file, line=0, reason=str(error))
    except RawFileError as error:
        yield Refusal(name=entry.name, file=entry.file, line=error.line, reason=error.reason)
