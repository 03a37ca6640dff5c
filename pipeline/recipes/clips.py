"""Turn one recording into processed clips: parse it, apply the recipe, refuse unusable clips."""

from collections.abc import Iterator

import numpy as np

from pipeline.errors import RawFileError, UnusableClip
from pipeline.recipes.recipe import Recipe, apply_recipe
from pipeline.skeleton.recording import Clip
from pipeline.sources.source import Entry, Reader, Reading, Refusal

SPARE_BYTES = 256 << 20
"""If so much memory is free after a recording ran out of it, the cause is the recording; otherwise it is the machine,
and the next recordings would fail, too."""
OUT_OF_MEMORY = "needs more memory than there is; cut it into short recordings, or use a machine with more memory"


def process_recording(entry: Entry, reader: Reader, recipe: Recipe) -> Iterator[tuple[Reading, Clip] | Refusal]:
    """Yield the processed clips of a recording; a clip that cannot be used is a refusal, and the others follow.

    Raises:
        MemoryError: not only this recording needs too much memory: hardly any is left.
    """
    try:
        for reading in reader.read(entry, recipe.frame_index):
            if isinstance(reading, Refusal):
                yield reading
                continue
            clip = _clip_or_reason(entry, recipe, reading)
            if isinstance(clip, Clip):
                yield reading, clip
            else:
                yield Refusal(name=reading.recording.name, file=entry.file, line=0, reason=clip)
    except RawFileError as error:
        yield Refusal(name=entry.name, file=entry.file, line=error.line, reason=error.reason)
        return
    except MemoryError:
        pass
    else:
        return
    _require_spare_memory(entry)
    yield Refusal(name=entry.name, file=entry.file, line=0, reason=OUT_OF_MEMORY)


def _clip_or_reason(entry: Entry, recipe: Recipe, reading: Reading) -> Clip | str:
    """Return the processed clip, or the reason why there is none."""
    try:
        return apply_recipe(recipe, reading.recording)
    except UnusableClip as error:
        return str(error)
    except MemoryError:
        pass
    _require_spare_memory(entry)  # when the error and all that it refers to are gone
    return OUT_OF_MEMORY


def _require_spare_memory(entry: Entry) -> None:
    """Raise MemoryError if hardly any memory can be allocated."""
    try:
        np.empty(SPARE_BYTES, np.uint8)
    except MemoryError:
        raise MemoryError(f"at {entry.file}; less than {SPARE_BYTES >> 20} MiB are left") from None
