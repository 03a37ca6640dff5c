"""What stands at an ingest's output already: a store of the same recordings, of others, something else, or nothing."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.artifacts import manifest, schemas
from pipeline.artifacts.latest import record_latest
from pipeline.errors import ArtifactError, OutputExists
from pipeline.files import raw_files
from pipeline.ingest import work_folder
from pipeline.ingest.request import IngestRequest, IngestResult, describe, store_facts
from pipeline.recipes.recipe import Recipe
from pipeline.sources.source import Entry, Source, Survey, combined_crc32
from pipeline.store.store import Store


def exists(output: Path) -> bool:
    """Whether a store, whole or not, stands at the output; an empty folder is as good as none.

    Raises:
        OutputExists: something stands there that no ingest has made.
    """
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return False
    papers = [path for path in (output / manifest.MANIFEST, output / "zarr.json") if path.is_file()]
    if not any(schemas.STORE.kind.encode() in path.read_bytes() for path in papers):
        raise OutputExists(f"{output}: is not a skelepipe store and is not replaced; name another --out")
    return True


def require_unchanged(output: Path, data: Source, survey: Survey, chosen: Recipe, *, keep_missing: bool) -> Store:
    """The store at an output, which is what an ingest would make now, down to the bytes of its input.

    Raises:
        OutputExists: it is not; the text says how they differ.
    """
    try:
        kept = Store(output)
    except ArtifactError as error:
        raise OutputExists(f"{error}; --force makes it anew") from error
    asked = {"data set": data.name, "recipe": chosen.name, "keep-missing": keep_missing}
    asked["missing left out"] = len(survey.missing)
    there = {
        "data set": kept.attributes["dataset"],
        "recipe": kept.attributes["recipe"]["name"],
        "keep-missing": kept.attributes["keep_missing"],
        "missing left out": kept.attributes["missing_left_out"],
    }
    differences = [f"{what} {there[what]} there, {asked[what]} asked" for what in asked if there[what] != asked[what]]
    if not differences and kept.attributes["recipe"] != chosen.resolved:
        differences.append(f"recipe {chosen.name} has other steps or parameters")
    if kept.attributes["sources"]["shared"] != data.shared:
        differences.append("what describes the recordings (manifest, layout, classes) has changed")
    differences += _changed_sources(kept, survey.entries)
    if differences:
        raise OutputExists(
            f"{output}: was made from other input ({'; '.join(differences)}); "
            "--force replaces it, another --out keeps both"
        )
    return kept


def _changed_sources(kept: Store, entries: Sequence[Entry]) -> list[str]:
    """How the recordings that lie there now differ from those that a store was made from, in words."""
    sizes, sums = kept.columns["source_size"].tolist(), kept.columns["source_crc32"].tolist()
    before = dict(zip(kept.recordings, zip(sizes, sums, strict=True), strict=True))
    before |= {bad["recording"]: (bad["size"], bad["crc32"]) for bad in kept.quarantine}
    now = {entry.name: entry for entry in entries}
    both = sorted(now.keys() & before.keys())

    def is_changed(entry: Entry) -> bool:
        size, crc32 = before[entry.name]
        return bool(entry.size != size or combined_crc32([raw_files.crc32(file) for file in entry.files]) != crc32)

    changes = {
        "added": sorted(now.keys() - before.keys()),
        "gone": sorted(before.keys() - now.keys()),
        "changed": [name for name in both if is_changed(now[name])],
    }
    return [f"{len(names)} recordings {how}, first {names[0]}" for how, names in changes.items() if names]


def report_up_to_date(request: IngestRequest, data: Source, survey: Survey, plan: bytes) -> IngestResult:
    """Report that the output is up to date, and finish what a kill right after its publishing left undone.

    Raises:
        OutputExists: it was made from other input.
    """
    kept = require_unchanged(request.output, data, survey, request.recipe, keep_missing=request.keep_missing)
    report = describe(request, survey, outcome="up to date", **store_facts(kept))
    if work_folder.remove_if_same_plan(request.output, plan):
        record_latest(request.output.parent, "store", request.output.name)
    return report
