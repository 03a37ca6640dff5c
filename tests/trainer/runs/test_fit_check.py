"""A run's configuration is checked against the tensors of its checkpoint before anything of that size is built."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.artifacts import manifest, schemas
from pipeline.errors import ArtifactError, SkelepipeError
from trainer.methods.registry import build_method
from trainer.models.size_estimate import encoder_specs, pair_specs
from trainer.runs import fit_check
from trainer.runs import run as run_module
from trainer.runs.classifier import load_classifier
from trainer.runs.run import RUN_FILE, Run, load_encoder, load_run

CPU = torch.device("cpu")
SETTINGS: list[tuple[str, Any, str]] = [
    ("encoder.hidden_channels", 100_000, r"blocks\.0\.spatial\.weight has shape \(6, 3, 1, 1\)"),
    ("encoder.temporal_kernel", 60_001, r"blocks\.0\.temporal\.weight has shape"),
    ("encoder.hidden_dim", 130_000, r"blocks\.9\.spatial\.weight has shape"),
    ("encoder.feature_dim", 130_000, r"head\.3\.weight has shape"),
    ("encoder.head_layers", 3, r"head\.3\.weight has shape"),
    ("encoder.head_norm", False, "is missing"),
    ("frames", 1_000_000, "clips of 1,000,000 frames need at least .* GB of memory"),
    ("encoder.hidden_channels", 10**30, "less than or equal to"),
    ("frames", 10**30, "less than or equal to"),
    ("epochs", 10**20, "less than or equal to"),
    ("pair.queue_size", 10**20, "less than or equal to"),
]


def change(path: Path, key: str, value: Any) -> None:
    """Change a setting in run.json as a stranger could: all digests are right."""
    plain = json.loads((path / RUN_FILE).read_text())
    *tables, name = key.split(".")
    table = plain["config"]
    for part in tables:
        table = table[part]
    table[name] = value
    facts = {name: plain[name] for name in plain if name not in {"kind", "format_version", "digest"}}
    (path / RUN_FILE).write_bytes(manifest.encode_document(schemas.RUN, facts))
    digest = json.loads((path / RUN_FILE).read_text())["digest"]
    for pattern, spec in (("checkpoints/*", schemas.CHECKPOINT), ("eval/*.classifier", schemas.CLASSIFIER)):
        for folder in path.glob(pattern):
            meta = json.loads((folder / "meta.json").read_text()) | {"run": digest}
            (folder / "meta.json").write_text(json.dumps(meta))
            (folder / manifest.MANIFEST).unlink()
            manifest.write_manifest(folder, spec)


@pytest.fixture
def own(evaluated_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an evaluated run to change, on a machine with 20 GB of memory; building a model is an error."""
    shutil.copytree(evaluated_run.path, tmp_path / "run")
    monkeypatch.setattr(fit_check, "available_memory", lambda _: 20_000_000_000)
    monkeypatch.setattr(run_module, "build_encoder", lambda *_: pytest.fail("an encoder was built"))
    return tmp_path / "run"


@pytest.mark.parametrize("load", [
    lambda run: load_encoder(run, CPU), lambda run: load_classifier(run, "linear", CPU),
], ids=["encoder", "classifier"])  # fmt: skip
@pytest.mark.parametrize(("key", "value", "message"), SETTINGS, ids=[f"{key}={value}" for key, value, _ in SETTINGS])
def test_settings_that_do_not_fit_the_tensors_are_refused_before_anything_is_built(
    own: Path, load: Callable[[Run], object], key: str, value: Any, message: str
) -> None:
    change(own, key, value)
    with pytest.raises(ArtifactError, match=message):
        load(load_run(own))


def test_a_queue_of_another_size_is_refused(own: Path) -> None:
    change(own, "pair.queue_size", 10**12)
    with pytest.raises(ArtifactError, match="tensor queue has shape"):
        load_encoder(load_run(own), CPU)


@pytest.mark.parametrize("steps", [-1, 2**63, 10**30])
def test_a_number_of_steps_that_is_none_is_refused(own: Path, steps: int) -> None:
    plain = json.loads((own / RUN_FILE).read_text())
    facts = {name: plain[name] for name in plain if name not in {"kind", "format_version", "digest"}}
    (own / RUN_FILE).write_bytes(manifest.encode_document(schemas.RUN, facts | {"total_steps": steps}))
    with pytest.raises(SkelepipeError, match="total_steps"):
        load_run(own)


@pytest.mark.parametrize("head_layers", [1, 2, 3])
def test_the_expected_tensors_are_those_of_the_model(shared_run: Run, head_layers: int) -> None:
    config = shared_run.config
    encoder = config.encoder.model_copy(update={"head_layers": head_layers})
    pair = build_method(shared_run.layout, encoder, config.pair, config.method, 0).pair
    expected = {
        name: (spec.shape, spec.dtype) for name, spec in pair_specs(shared_run.layout, encoder, config.pair).items()
    }
    assert expected == {name: (tuple(value.shape), value.dtype) for name, value in pair.state_dict().items()}


def test_expected_tensors_are_found_without_drawing_random_numbers(shared_run: Run) -> None:
    before = torch.get_rng_state()
    encoder_specs(shared_run.layout, shared_run.config.encoder)
    assert torch.equal(before, torch.get_rng_state())


HEADERS = ["[]", '{"queue": 12}', '{"queue": {"shape": 1}}', '{"queue": {"shape": [1e999], "dtype": "F32"}}',
           '{"queue": {"shape": [], "dtype": []}}', "{", "[" * 20_000]  # fmt: skip


@pytest.mark.parametrize("header", [
    b"", b"\xff" * 8, *(len(text).to_bytes(8, "little") + text.encode() for text in HEADERS),
], ids=lambda header: repr(header[8:40]))  # fmt: skip
def test_a_damaged_header_is_an_error_in_one_line(own: Path, header: bytes) -> None:
    newest = max((own / "checkpoints").iterdir())
    (newest / "model.safetensors").write_bytes(header)
    (newest / manifest.MANIFEST).unlink()
    manifest.write_manifest(newest, schemas.CHECKPOINT)
    with pytest.raises(ArtifactError, match="cannot be read as safetensors"):
        load_encoder(load_run(own), CPU)
