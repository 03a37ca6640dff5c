"""Compare the store that already exists at the output with the store that an ingest would build."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.artifacts import manifest, schemas
from pipeline.artifacts.latest import record_latest
from pipeline.errors import ArtifactError, OutputExists
from pipeline.files import raw_files
from pipeline.files.regular_files import read_bytes
from pipeline.files.system_files import entries
from pipeline.ingest import work_folder
from pipeline.ingest.request import IngestRequest, IngestResult, make_result, store_fields
from pipeline.recipes.recipe import Recipe
from pipeline.sources.source import Entry, Source, Survey, combined_crc32
from pipeline.store.store import Store


def exists(output: Path) -> bool:
    """Return whether a store, complete or not, exists at the output; an empty folder counts as none.

    Raises:
        OutputExists: the output is something else than a store.
    """
    if not output.exists() or (output.is_dir() and not any(entries(output))):
        return False
    documents = [path for path in (output / manifest.MANIFEST, output / "zarr.json") if path.is_file()]
    if not any(schemas.STORE.kind.encode() in read_bytes(path) for path in documents):
        raise OutputExists(f"{output}: is not a skelepipe store and will not be replaced; name another --out")
    return True


def require_unchanged(output: Path, data: Source, survey: Survey, recipe: Recipe, *, keep_missing: bool) -> Store:
    """Open the store at the output; check that an ingest would build the same one, from the same input bytes.

    Raises:
        OutputExists: it would not; the message lists the differences.
    """
    try:
        store = Store(output)
    except ArtifactError as error:
        raise OutputExists(f"{error}; --force rebuilds it") from error
    requested = {
        "data set": data.name,
        "recipe": recipe.name,
        "keep-missing": keep_missing,
        "missing left out": len(survey.missing),
    }
    existing = {
        "data set": store.attributes["dataset"],
        "recipe": store.attributes["recipe"]["name"],
        "keep-missing": store.attributes["keep_missing"],
        "missing left out": store.attributes["missing_left_out"],
    }
    differences = [
        f"{name} is {existing[name]}, requested {requested[name]}"
        for name in requested
        if existing[name] != requested[name]
    ]
    if not differences and store.attributes["recipe"] != recipe.resolved:
        differences.append(f"recipe {recipe.name} has other steps or parameters")
    if store.attributes["sources"]["shared"] != data.shared:
        differences.append("the description of the recordings (manifest.csv, layout, classes) has changed")
    differences += _changed_sources(store, survey.entries)
    if differences:
        raise OutputExists(
            f"{output}: was made from other input ({'; '.join(differences)}); "
            "--force replaces it, another --out keeps both"
        )
    return store


def _changed_sources(store: Store, entries: Sequence[Entry]) -> list[str]:
    """Describe how the recordings found now differ from those that the store was built from."""
    sizes, crcs = store.columns["source_size"].tolist(), store.columns["source_crc32"].tolist()
    old = dict(zip(store.recordings, zip(sizes, crcs, strict=True), strict=True))
    old |= {bad["recording"]: (bad["size"], bad["crc32"]) for bad in store.quarantine}
    new = {entry.name: entry for entry in entries}
    common = sorted(new.keys() & old.keys())

    def is_changed(entry: Entry) -> bool:
        size, crc32 = old[entry.name]
        return bool(entry.size != size or combined_crc32([raw_files.crc32(file) for file in entry.files]) != crc32)

    changes = {
        "added": sorted(new.keys() - old.keys()),
        "missing": sorted(old.keys() - new.keys()),
        "changed": [name for name in common if is_changed(new[name])],
    }
    return [f"{len(names)} recordings {change}, first {names[0]}" for change, names in changes.items() if names]


def up_to_date_result(request: IngestRequest, data: Source, survey: Survey, plan: bytes) -> IngestResult:
    """Return the result "up to date"; first finish the clean-up of an ingest that was killed right after publishing.

    Raises:
        OutputExists: the store was made from other input.
    """
    store = require_unchanged(request.output, data, survey, request.recipe, keep_missing=request.keep_missing)
    result = make_result(request, survey, outcome="up to date", **store_fields(store))
    if work_folder.remove_if_same_plan(request.output, plan):
        record_latest(request.output.parent, "store", request.output.name)
    return result
