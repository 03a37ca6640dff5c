"""Format version 1 opens for ever, as it lies in tests/golden/v1; what says anything else is refused by the field."""

import hashlib
import json
import re
import shutil
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_origin

import numpy as np
import pytest
import torch
import zarr
from pydantic import TypeAdapter, ValidationError

from pipeline.artifacts import manifest, schemas
from pipeline.artifacts.validation import DocumentFields, DocumentSpec
from pipeline.errors import ArtifactError
from pipeline.store.columns import CHUNK_BODY_FRAMES, COLUMNS, SHARD_BODY_FRAMES, TEXT_COLUMNS
from pipeline.store.splits import Split, find_split, load_split, load_subset
from pipeline.store.store import Store
from pipeline.store.summary import summarise_store
from pipeline.store.verify import verify
from trainer.data.loader import load_clips
from trainer.evaluation import features
from trainer.pretrain.pretrain import PretrainRequest, pretrain
from trainer.runs import checkpoint
from trainer.runs.classifier import TENSORS, Classifier, load_classifier
from trainer.runs.run import (
    Run,
    build_run_method,
    find_run_split,
    find_run_store,
    load_encoder,
    load_run,
    named_checkpoint,
    newest_checkpoint,
)
from trainer.runs.safetensors_file import read_tensors, write_tensors

V1 = Path(__file__).parents[2] / "golden" / "v1"
CPU = torch.device("cpu")
STORE, SPLIT, RUN = "processed/s.zarr", "processed/splits/s/xsub.json", "runs/r"
SUBSET = "processed/splits/s/xsub.train-0.5.seed0.json"
BEST, LAST = f"{RUN}/checkpoints/step-00000001", f"{RUN}/checkpoints/step-00000002"
LINEAR = f"{RUN}/eval/linear.classifier"
CHECKSUMMED_FOLDERS = {
    STORE: schemas.STORE,
    BEST: schemas.CHECKPOINT,
    LAST: schemas.CHECKPOINT,
    LINEAR: schemas.CLASSIFIER,
}
GONE = object()
"""In the place of a value: it is taken out."""
Keys = tuple[str | int, ...]


class Golden(NamedTuple):
    """A copy of the golden artifacts, and those of them that others are held against, opened while they were whole."""

    root: Path
    store: Store
    split: Split
    run: Run


def copied(root: Path) -> Golden:
    shutil.copytree(V1, root)
    store = Store(root / STORE)
    return Golden(root, store, find_split(store, "xsub"), load_run(root / RUN))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Golden:
    """Whoever changes something puts it back."""
    return copied(tmp_path_factory.mktemp("golden") / "v1")


@pytest.fixture
def own(tmp_path: Path) -> Golden:
    """To damage at will."""
    return copied(tmp_path / "v1")


def open_store(golden: Golden) -> Store:
    return Store(golden.root / STORE)


def open_classifier(golden: Golden) -> Classifier:
    return load_classifier(golden.run, "linear", CPU, fast=False)


@dataclass(frozen=True)
class Document:
    """A JSON document among the golden ones, and who opens it."""

    form: DocumentSpec
    file: str
    opens: Callable[[Golden], object]
    within: Keys = ()
    """Where in the file it stands."""
    more: tuple[tuple[Keys, Any], ...] = ()
    """What a document of the form may hold, too, and this one does not."""

    def __str__(self) -> str:
        return "-".join(Path(self.file).parts[-2:])

    @property
    def checksum_folder(self) -> str | None:
        """The folder whose manifest has its checksum; None if it contains its own digest."""
        folders = [folder for folder in CHECKSUMMED_FOLDERS if self.file.startswith(f"{folder}/")]
        return folders[0] if folders and not self.file.endswith(manifest.MANIFEST) else None

    @property
    def looked_at(self) -> str:
        """What `verify` is asked about."""
        return next((folder for folder in CHECKSUMMED_FOLDERS if self.file.startswith(f"{folder}/")), self.file)

    def read(self, root: Path = V1) -> Any:
        plain = json.loads((root / self.file).read_bytes())
        for keys, value in self.more:
            plain = put(plain, self.within + keys, value)
        return plain

    def write(self, root: Path, plain: Any) -> None:
        """Write `plain` to the file with valid checksums, as if skelepipe had written it."""
        if self.checksum_folder is None:
            body = without_digest(plain)
            plain = {**body, "digest": manifest.json_digest(body)}
        path = root / self.file
        path.write_bytes(json.dumps(plain, indent=1).encode() + b"\n")
        if self.checksum_folder is not None:  # only this file has changed; `rewrite_manifest` would read them all
            place = root / self.checksum_folder / manifest.MANIFEST
            content = json.loads(place.read_bytes())
            entry = {"size": path.stat().st_size, "sha256": manifest.file_digest(path)}
            content["files"][path.relative_to(place.parent).as_posix()] = entry
            place.write_bytes(
                manifest.encode_document(CHECKSUMMED_FOLDERS[self.checksum_folder], without_digest(content))
            )


DOCUMENTS = (
    Document(schemas.STORE, f"{STORE}/MANIFEST.json", open_store),
    Document(
        schemas.STORE_ATTRIBUTES,
        f"{STORE}/zarr.json",
        open_store,
        within=("attributes", "skelepipe"),
        more=((("splits",), {"mine": {"train": {"subject": [1]}, "test": {"subject": [3]}}}),),
    ),
    Document(schemas.QUARANTINE, f"{STORE}/quarantine.json", open_store),
    Document(schemas.SPLIT, SPLIT, lambda golden: load_split(golden.root / SPLIT, golden.store)),
    Document(schemas.SUBSET, SUBSET, lambda golden: load_subset(golden.root / SUBSET, golden.split)),
    Document(
        schemas.RUN,
        f"{RUN}/run.json",
        lambda golden: load_run(golden.root / RUN),
        more=(
            (("lineage", "imported"), {"file": "x.pt", "source": "skelemixclr", "holds": "pair"}),
            (("origins",), {"epochs": "preset quick"}),
            (("extends",), ["0" * 64]),
        ),
    ),
    Document(schemas.CHECKPOINT, f"{BEST}/MANIFEST.json", lambda golden: named_checkpoint(golden.run, "best")),
    Document(schemas.META, f"{BEST}/meta.json", lambda golden: named_checkpoint(golden.run, "best")),
    Document(schemas.META, f"{LAST}/meta.json", lambda golden: newest_checkpoint(golden.run)),
    Document(schemas.CLASSIFIER, f"{LINEAR}/MANIFEST.json", open_classifier),
    Document(schemas.CLASSIFIER_META, f"{LINEAR}/meta.json", open_classifier),
)


def put(plain: Any, keys: Keys, value: Any) -> Any:
    """A copy with another value in one place, or without what stands there."""
    changed = holder = deepcopy(plain)
    for key in keys[:-1]:
        holder = holder[key]
    if value is GONE:
        del holder[keys[-1]]
    else:
        holder[keys[-1]] = value
    return changed


def without_digest(plain: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in plain.items() if key != "digest"}


def rewrite_manifest(root: Path, folder: str) -> None:
    """Seal a folder anew over what lies there now."""
    content = json.loads((root / folder / manifest.MANIFEST).read_bytes())
    facts = {key: value for key, value in content.items() if key not in ("kind", "format_version", "files", "digest")}
    manifest.write_manifest(root / folder, CHECKSUMMED_FOLDERS[folder], **facts)


@contextmanager
def changed(golden: Golden, document: Document, plain: Any) -> Iterator[None]:
    """Within the block, the document has other content and valid checksums."""
    touched = [golden.root / document.file, *golden.root.glob(f"{document.checksum_folder}/{manifest.MANIFEST}")]
    before = {path: path.read_bytes() for path in touched}
    document.write(golden.root, plain)
    try:
        yield
    finally:
        for path, content in before.items():
            path.write_bytes(content)


def refusals(golden: Golden, document: Document) -> tuple[str, str]:
    """What opening and verifying say of it: errors of ours, whatever it holds."""
    with pytest.raises(ArtifactError) as refused:
        document.opens(golden)
    return str(refused.value), "\n".join(verify(golden.root / document.looked_at).findings)


# What the golden artifacts answer.


@pytest.mark.slow
def test_every_golden_artifact_is_whole_and_answers_what_it_did(shared: Golden) -> None:
    root, store, split, run = shared
    expected = json.loads((V1 / "expected.json").read_bytes())
    for path in (STORE, SPLIT, SUBSET, RUN, f"{RUN}/run.json", BEST, LAST, LINEAR):
        assert verify(root / path).findings == [], path
    subset = load_subset(root / SUBSET, split)
    newest, meta, skipped = newest_checkpoint(run)
    best, best_meta, _ = named_checkpoint(run, "best")
    kept = open_classifier(shared)
    digest_of = {path: manifest.open_folder(root / path, form)["digest"] for path, form in CHECKSUMMED_FOLDERS.items()}
    assert (newest, skipped, best) == (root / LAST, [], root / BEST)
    assert expected["digests"] == {
        "store": store.digest,
        "split": split.digest,
        "subset": subset.digest,
        "run": run.digest,
        "checkpoint": digest_of[LAST],
        "best": digest_of[BEST],
        "classifier": digest_of[LINEAR],
    }
    assert expected["names"] == store.names == store.recordings
    assert expected["labels"] == store.columns["label"].tolist()
    assert expected["quarantine"] == [bad["name"] for bad in store.quarantine]
    assert (expected["train"], expected["test"]) == (split.train.tolist(), split.test.tolist())
    assert expected["labelled"] == subset.rows.tolist()
    assert (expected["steps"], expected["best_step"]) == (meta["step"], best_meta["step"])
    assert (tuple(expected["classes"]), tuple(expected["class_names"])) == (kept.classes, kept.names)
    encoder, _ = load_encoder(run, CPU, fast=False)
    for clip in expected["clips"]:
        read = store.clip(clip["row"])
        assert list(read.shape) == clip["shape"]
        assert hashlib.sha256(read.tobytes()).hexdigest() == clip["sha256"]
        given = load_clips(store, np.array([clip["row"]]), run.config.frames, run.config.bodies)
        found = {"features": features.extract(encoder, given)[0]}
        found["scores"] = kept.scores(features.extract(kept.encoder, given))[0]
        for name, values in found.items():
            np.testing.assert_allclose(values, clip[name], rtol=1e-4, atol=1e-6, err_msg=name)


def test_what_reads_golden_artifacts_together_finds_that_they_belong_together(shared: Golden) -> None:
    assert summarise_store(shared.store)["splits"]["xsub"] == {"train": 4, "test": 2, "separates": "subject"}
    assert load_encoder(shared.run, CPU, "best", fast=False)[1]["held_out_knn"] == 0.0
    store = find_run_store(shared.run)
    assert store.digest == shared.store.digest
    split = find_run_split(shared.run, store, None)
    again = pretrain(
        PretrainRequest(
            store=store,
            split=split,
            preset="quick",
            config=shared.run.config,
            output=shared.run.path,
            device=CPU,
            fast=False,
        )
    )
    assert (again.outcome, again.run.digest) == ("up to date", shared.run.digest)


# What says anything else.


class Place(NamedTuple):
    """A field of a form, or what a list or a table in it holds, and where it stands in a document."""

    keys: Keys
    annotation: Any
    field: tuple[type[DocumentFields], str] | None
    """None: an entry of a list or a table."""
    needed: bool


def places(model: type[DocumentFields], plain: Any, above: Keys = ()) -> Iterator[Place]:
    """All of a form that a document holds."""
    for name, info in model.model_fields.items():
        if name in plain:
            yield Place((*above, name), info.annotation, (model, name), info.is_required())
            yield from inner(info.annotation, plain[name], (*above, name))


def inner(annotation: Any, plain: Any, above: Keys) -> Iterator[Place]:
    """What a field holds: of a list or a table the first entry stands for all."""
    if get_origin(annotation) not in (list, dict):
        for model in models(annotation):
            yield from places(model, plain, above)
    elif plain:
        key = 0 if isinstance(plain, list) else next(iter(plain))
        held = get_args(annotation)[-1]
        yield Place((*above, key), held, None, needed=False)
        yield from inner(held, plain[key], (*above, key))


def models(annotation: Any) -> list[type[DocumentFields]]:
    """The model that an annotation is, or is beside None."""
    return [
        kind
        for kind in (annotation, *get_args(annotation))
        if isinstance(kind, type) and issubclass(kind, DocumentFields)
    ]


def below(model: type[DocumentFields]) -> set[tuple[type[DocumentFields], str]]:
    """Every field of a model and of all models in it."""
    found = {(model, name) for name in model.model_fields}
    waiting = [info.annotation for info in model.model_fields.values()]
    while waiting:
        annotation = waiting.pop()
        for inside in models(annotation):
            found |= below(inside)
        waiting += get_args(annotation)
    return found


def of_another_type(annotation: Any) -> Any:
    """A value that the annotation does not take; GONE when it takes everything."""
    for value in ("1", True, 1.5, [], {}, None):
        try:
            TypeAdapter(annotation).validate_python(value, strict=True)
        except ValidationError:
            return value
    return GONE


def fields_of(document: Document) -> list[Place]:
    plain = document.read()
    # The list of a quarantine is held against its form under a name, which is in no file.
    return list(
        places(
            document.form.fields,
            {"entries": plain} if document.form == schemas.QUARANTINE else part(plain, document.within),
        )
    )


def part(plain: Any, keys: Keys) -> Any:
    for key in keys:
        plain = plain[key]
    return plain


def keys_in_file(document: Document, place: Place) -> Keys:
    return place.keys[1:] if document.form == schemas.QUARANTINE else document.within + place.keys


FIELDS = [
    pytest.param(document, place, id=f"{document}-{'.'.join(map(str, place.keys))}")
    for document in DOCUMENTS
    for place in fields_of(document)
    if keys_in_file(document, place)
]
VERSIONED = [document for document in DOCUMENTS if "format_version" in part(document.read(), document.within)]


ADDED = {(schemas.ClassifierFields, "number"), (schemas.ClassifierFields, "settings_digest")}
"""Fields that the stored artifacts are too old to have."""


def test_every_form_and_every_field_of_it_is_among_those_that_are_tried() -> None:
    forms = {form for form in vars(schemas).values() if isinstance(form, DocumentSpec)}
    assert {document.form for document in DOCUMENTS} == forms
    assert {document.form for document in VERSIONED} == forms - {
        schemas.META,
        schemas.CLASSIFIER_META,
        schemas.QUARANTINE,
    }
    for form in forms:
        tried = {place.field for document in DOCUMENTS if document.form == form for place in fields_of(document)}
        assert below(form.fields) - tried == (ADDED if form == schemas.CLASSIFIER_META else set())


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_a_document_with_a_new_digest_opens(shared: Golden, document: Document) -> None:
    with changed(shared, document, document.read()):
        document.opens(shared)
        assert verify(shared.root / document.looked_at).findings == []


@pytest.mark.parametrize(
    "version", [0, 99, "1", 1.0, True, None, GONE], ids=lambda version: "gone" if version is GONE else repr(version)
)
@pytest.mark.parametrize("document", VERSIONED, ids=str)
def test_another_format_version_is_refused(shared: Golden, document: Document, version: object) -> None:
    said = "has no format_version" if version in (None, GONE) else f"has format version {version!r}"
    with changed(shared, document, put(document.read(), (*document.within, "format_version"), version)):
        for told in refusals(shared, document):
            assert f"{Path(document.file).name}: {said}, this skelepipe reads 1" in told


@pytest.mark.parametrize(
    "document", [document for document in DOCUMENTS if document.form != schemas.QUARANTINE], ids=str
)
def test_another_kind_is_refused(shared: Golden, document: Document) -> None:
    for kind in ("skelepipe-other", GONE):
        told = rf"{Path(document.file).name}: is not a {document.form.kind}"
        with (
            changed(shared, document, put(document.read(), (*document.within, "kind"), kind)),
            pytest.raises(ArtifactError, match=told),
        ):
            document.opens(shared)


@pytest.mark.parametrize(("document", "place"), FIELDS)
def test_a_field_that_is_gone_or_of_another_type_is_refused_by_its_name(
    shared: Golden, document: Document, place: Place
) -> None:
    name, field = Path(document.file).name, ".".join(map(str, place.keys))
    if place.needed:
        with changed(shared, document, put(document.read(), keys_in_file(document, place), GONE)):
            for told in refusals(shared, document):
                assert f"{name}: field '{field}' is missing; " in told
    if (value := of_another_type(place.annotation)) is not GONE:
        with changed(shared, document, put(document.read(), keys_in_file(document, place), value)):
            for told in refusals(shared, document):
                assert re.search(rf"{re.escape(name)}: field {re.escape(field)}( = .*)?: ", told)


@pytest.mark.parametrize("content", [b"", b"{", b"null", b"[1]", b"NaN", b"[" * 10_000], ids=repr)
@pytest.mark.parametrize("document", [document for document in DOCUMENTS if document.checksum_folder], ids=str)
def test_content_that_is_not_a_document_is_refused_despite_valid_checksums(
    shared: Golden, document: Document, content: bytes
) -> None:
    with changed(shared, document, document.read()):
        (shared.root / document.file).write_bytes(content)
        rewrite_manifest(shared.root, document.checksum_folder)
        refused, found = refusals(shared, document)
        assert document.looked_at in refused
        assert found


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999", "[" * 900 + "]" * 900])
def test_json_that_cannot_have_a_digest_is_reported_as_damaged(own: Golden, value: str) -> None:
    path = own.root / SUBSET
    path.write_text(path.read_text().replace('"fraction": 0.5', f'"fraction": {value}'))
    with pytest.raises(ArtifactError, match=r"does not match its digest: it was changed or damaged; ") as refused:
        load_subset(path, own.split)
    assert verify(path).findings == [str(refused.value)]


@pytest.mark.parametrize(
    ("keys", "value", "said"),
    [
        (("joints", 1), "spine_base", "two joints share a name: spine_base"),
        (("parents", 0), 25, "there is no joint 25"),
        (("parents", 20), 1, "form a cycle"),
        (("parts", "trunk"), [0, 1, 2, 3], "joint spine_shoulder is in no part"),
        (("centre",), -1, "there is no joint -1"),
    ],
)
def test_a_skeleton_that_contradicts_itself_is_refused(shared: Golden, keys: Keys, value: object, said: str) -> None:
    for document in (document for document in DOCUMENTS if document.form in (schemas.STORE_ATTRIBUTES, schemas.RUN)):
        with changed(shared, document, put(document.read(), (*document.within, "layout", *keys), value)):
            for told in refusals(shared, document):
                assert f"{Path(document.file).name}: field layout: layout kinect-v2: " in told
                assert said in told


@pytest.mark.parametrize("field", ["store.name", "store.path", "store.digest", "split.name", "split.digest"])
def test_only_a_run_of_imported_weights_may_not_know_what_it_was_trained_on(shared: Golden, field: str) -> None:
    (document,) = (document for document in DOCUMENTS if document.form == schemas.RUN)
    unknown = put(document.read(), ("lineage", *field.split(".")), None)
    with changed(shared, document, unknown):
        assert load_run(shared.root / RUN).imported
    with changed(shared, document, put(unknown, ("lineage", "imported"), GONE)):
        for told in refusals(shared, document):
            assert f"run.json: field lineage: {field} is null; " in told


def test_rows_that_no_store_can_have_are_refused(shared: Golden) -> None:
    for document in DOCUMENTS:
        for side in {schemas.SPLIT: ("train", "test"), schemas.SUBSET: ("rows",)}.get(document.form, ()):
            for row in (-1, 2**63):
                with changed(shared, document, put(document.read(), (side, 0), row)):
                    for told in refusals(shared, document):
                        assert f"{Path(document.file).name}: field {side}.0 = {row}: " in told


def test_a_newest_checkpoint_of_another_version_is_passed_over_by_name(own: Golden) -> None:
    newest = Document(schemas.CHECKPOINT, f"{LAST}/MANIFEST.json", lambda golden: newest_checkpoint(golden.run))
    newest.write(own.root, put(newest.read(), ("format_version",), 2))
    found, _, skipped = newest_checkpoint(own.run)
    assert found == own.root / BEST
    assert "step-00000002/MANIFEST.json: has format version 2, this skelepipe reads 1" in skipped[0]
    (own.root / BEST / "model.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"all checkpoints are damaged; skipped .*has format version 2"):
        newest_checkpoint(own.run)


def test_a_best_checkpoint_that_is_another_than_the_newest_names_is_refused(shared: Golden) -> None:
    (document,) = (document for document in DOCUMENTS if document.file == f"{BEST}/meta.json")
    for keys, value in ((("best", "held_out_knn"), 50.0), (("best",), None), (("best",), GONE), (("run",), "0" * 64)):
        with (
            changed(shared, document, put(document.read(), keys, value)),
            pytest.raises(
                ArtifactError, match=r"step-00000001: is not the best checkpoint that .*step-00000002 records"
            ),
        ):
            load_encoder(shared.run, CPU, "best")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("weight", None, r"weight is missing, expected shape \(2, 8\)"),
        ("bias", None, r"bias is missing, expected shape \(2,\)"),
        ("weight", torch.zeros(2, 7), r"weight has shape \(2, 7\), expected shape \(2, 8\)"),
        ("bias", torch.zeros(3), r"bias has shape \(3,\), expected shape \(2,\)"),
    ],
)
def test_a_classifier_of_other_tensors_is_refused(
    own: Golden, name: str, value: torch.Tensor | None, said: str
) -> None:
    path = own.root / LINEAR / TENSORS
    kept = read_tensors(path) | {name: value}
    write_tensors(path, {key: tensor for key, tensor in kept.items() if tensor is not None})
    rewrite_manifest(own.root, LINEAR)
    with pytest.raises(ArtifactError, match=rf"classifier\.safetensors: tensor {said}"):
        open_classifier(own)


def test_a_classifier_has_one_name_for_every_class(shared: Golden) -> None:
    (document,) = (document for document in DOCUMENTS if document.form == schemas.CLASSIFIER_META)
    with changed(shared, document, put(document.read(), ("names",), ["drink water"])):
        for told in refusals(shared, document):
            assert "meta.json: field names = ['drink water']: 1 names for 2 classes; " in told


def test_momenta_of_other_shapes_belong_to_another_model(own: Golden) -> None:
    path = own.root / LAST / checkpoint.OPTIMISER
    kept = read_tensors(path)
    write_tensors(path, kept | {"0": torch.zeros(1)})
    optimiser = torch.optim.SGD(build_run_method(own.run).pair.query.parameters(), lr=0.1)
    with pytest.raises(ArtifactError, match="its optimiser state belongs to another model"):
        checkpoint.load_optimiser(path.parent, optimiser)


def rewrite(folder: Path, name: str, values: np.ndarray, **options: Any) -> None:
    """Put another array in the place of a store's."""
    group = zarr.open_group(str(folder), mode="r+")
    del group[name]
    rest = values.shape[:-1]
    cut = (
        {"chunks": (*rest, CHUNK_BODY_FRAMES), "shards": (*rest, SHARD_BODY_FRAMES)}
        if name == "xyz"
        else {"chunks": values.shape}
    )
    group.create_array(name, data=values, fill_value=0, **{**cut, **options})


@pytest.mark.parametrize("name", ["offset", *TEXT_COLUMNS, *(spec.name for spec in COLUMNS), "xyz"])
def test_an_array_that_is_gone_or_of_another_type_or_length_is_refused_by_its_name(tmp_path: Path, name: str) -> None:
    folder = tmp_path / STORE
    shutil.copytree(V1 / STORE, folder)
    values = np.asarray(zarr.open_group(str(folder), mode="r")[name])
    kind, shorter = ("uint16", values[:-1]) if name in TEXT_COLUMNS else ("int16", values[..., :-1])
    for other in (values.astype(kind), shorter, None):
        if other is None:
            shutil.rmtree(folder / name)
        else:
            rewrite(folder, name, other)
        rewrite_manifest(tmp_path, STORE)
        there = "is missing" if other is None else f"is {other.dtype} {other.shape}"
        with pytest.raises(ArtifactError) as refused:
            Store(folder)
        assert f"{folder}: its array {name} {there}, expected {values.dtype} (" in str(refused.value)


def test_an_array_without_its_chunk_is_not_taken_for_one_of_fill_values(own: Golden) -> None:
    for name in ("label", "offset", "recording"):
        chunks = own.root / STORE / name / "c"
        shutil.move(chunks, own.root / "aside")
        rewrite_manifest(own.root, STORE)
        with pytest.raises(ArtifactError, match=rf"its array {name} has no chunk {name}/c/0") as refused:
            Store(own.root / STORE)
        assert verify(own.root / STORE).findings == [str(refused.value)]
        shutil.move(own.root / "aside", chunks)


def test_motion_that_is_cut_otherwise_is_refused(own: Golden) -> None:
    folder = own.root / STORE
    values = np.asarray(zarr.open_group(str(folder), mode="r")["xyz"])
    rewrite(folder, "xyz", values, chunks=(3, 25, CHUNK_BODY_FRAMES // 2))
    rewrite_manifest(own.root, STORE)
    with pytest.raises(
        ArtifactError, match=rf"xyz is in shards of .* and chunks of \(3, 25, {CHUNK_BODY_FRAMES // 2}\), expected "
    ):
        Store(folder)


def test_names_that_are_no_utf8_are_refused(own: Golden) -> None:
    folder = own.root / STORE
    rewrite(folder, "recording", np.full((len(own.store), 2), 0xFF, np.uint8))
    rewrite_manifest(own.root, STORE)
    with pytest.raises(ArtifactError, match="its array recording is not UTF-8"):
        Store(folder)


@pytest.mark.parametrize("name", ["label", "xyz"])
def test_metadata_of_which_zarr_makes_nothing_is_an_error_of_ours(own: Golden, name: str) -> None:
    path = own.root / STORE / name / "zarr.json"
    whole = json.loads(path.read_bytes())
    refused = []
    for key in ("shape", "data_type", "chunk_grid", "codecs", "node_type"):
        for value in (GONE, {}):
            path.write_text(json.dumps(put(whole, (key,), value)))
            rewrite_manifest(own.root, STORE)
            try:
                Store(own.root / STORE)
            except ArtifactError as error:
                refused.append(str(error))
    assert refused
    assert all(f"{own.root / STORE}: its array {name} " in told for told in refused)


def test_a_column_that_claims_more_than_its_bytes_takes_no_memory(own: Golden) -> None:
    path = own.root / STORE / "frames" / "zarr.json"
    plain, clips = json.loads(path.read_bytes()), 10**9
    plain["shape"] = [clips]
    plain["chunk_grid"]["configuration"]["chunk_shape"] = [clips]
    path.write_text(json.dumps(plain))
    content = json.loads((own.root / STORE / manifest.MANIFEST).read_bytes())
    manifest.write_manifest(own.root / STORE, schemas.STORE, clips=clips)
    assert content["clips"] < clips
    tracemalloc.start()
    with pytest.raises(ArtifactError, match="frames/c/0 has 28 bytes, but its array needs 4000000000; ingest again"):
        Store(own.root / STORE)
    assert tracemalloc.get_traced_memory()[1] < 1 << 25
    tracemalloc.stop()
