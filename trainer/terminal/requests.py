"""Build training and evaluation requests from command-line options: choose preset, split, store and run folder."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from pipeline.artifacts.paths import PROCESSED_FOLDER, RUN_FILE, find_stores
from pipeline.errors import ArtifactError, ConfigError
from pipeline.store.splits import Split, built_split_names, find_split
from pipeline.store.store import Store
from trainer.config.evaluation import compose_eval, eval_layers
from trainer.config.layers import (
    SET_ORIGIN,
    ConfigLayer,
    flatten,
    layers_from_options,
    parse_setting,
    value_origins,
)
from trainer.config.presets import QUICK_PRESET, Preset, choose_preset, config_from_layers, load_preset, pretrain_layers
from trainer.config.pretrain import PretrainConfig
from trainer.evaluation.evaluate import EvaluateRequest, evaluate
from trainer.evaluation.stream_fusion import choose_weights, fuse_runs
from trainer.pretrain.compose import compose_request
from trainer.pretrain.pretrain import PretrainRequest
from trainer.runs.effective_config import (
    EffectiveConfig,
    effective_eval_config,
    effective_pretrain_config,
    effective_run_config,
)
from trainer.runs.run import Run, find_run_split, find_run_store, load_run
from trainer.runtime.device import choose_device
from trainer.terminal.artifacts import open_newest_run, open_store
from trainer.terminal.device import command_device
from trainer.terminal.options import reject_combination
from trainer.terminal.printing import print_note


def pretrain_request(
    store: Path | None,
    split: str | None,
    preset: str | None,
    config: Path | None,
    settings: Sequence[str],
    *,
    output: Path | None,
    device: str,
    short_options: Mapping[str, Any],
    **options: Any,
) -> PretrainRequest:
    """Build the request of `pretrain`, and print what was chosen.

    Args:
        store: its path; None: the newest store.
        split: a name or file; None: the default split.
        preset: a name; None: that of data set and split, else quick.
        config: a TOML file over the preset.
        settings: `KEY=VALUE`, over both.
        output: the run's folder; None: named after store, split and preset.
        device: as --device.
        short_options: options for single values of the configuration, by key; None: not given.
        **options: further fields of the request.

    Raises:
        SkelepipeError: something named is missing or impossible.
    """
    if store is not None and (store / RUN_FILE).is_file():
        raise ConfigError(f"{store}: is a run, expected a store; to resume it: skelepipe pretrain --resume {store}")
    request, advice = compose_request(
        open_store(store),
        split,
        preset,
        config,
        settings,
        layers_from_options(short_options),
        device=command_device(device),
        output=output,
        **options,
    )
    print_note([f"split {request.split.path}, preset {request.preset}, run {request.output}", *advice])
    return request


def resume_request(path: Path, settings: Sequence[str], *, device: str, **options: Any) -> PretrainRequest:
    """Build the request that resumes a run with the store, split and configuration that it records.

    Args:
        path: the run's folder.
        settings: nothing, or `epochs=N` to train longer.
        device: as --device.
        **options: further fields of the request.

    Raises:
        ConfigError: another setting is given, or the schedule does not allow other epochs.
        ArtifactError: the run has imported weights, or its store or split does not match.
    """
    run = load_run(path)
    if run.imported:
        raise ArtifactError(f"{path}: has imported weights ({run.imported['file']}), which pretrain cannot resume")
    store = find_run_store(run)
    config = extended_config(run.path, run.config, settings)
    print_note([f"resuming {path}: store {store.path}, preset {run.preset}, {config.epochs} epochs"])
    return PretrainRequest(
        store=store,
        split=find_run_split(run, store),
        preset=run.preset,
        config=config,
        origins=run.origins or {},
        device=command_device(device),
        output=path,
        extend=config.epochs > run.config.epochs,
        **options,
    )


def extended_config(path: Path, config: PretrainConfig, settings: Sequence[str]) -> PretrainConfig:
    """Return the configuration of a run with more epochs, if `epochs=N` is given.

    Raises:
        ConfigError: another setting is given, N is smaller, or the learning rate depends on the number of epochs.
    """
    given = {key: value for setting in settings for key, value in flatten(parse_setting(setting)).items()}
    if others := sorted(given.keys() - {"epochs"}):
        raise ConfigError(f"--resume {path}: only epochs can be changed, not {', '.join(others)}; train another run")
    epochs = given.get("epochs", config.epochs)
    if epochs == config.epochs:
        return config
    if config.schedule == "cosine":
        raise ConfigError(
            f"--resume {path}: epochs={epochs}: the learning rate of the run follows a cosine over its {config.epochs} "
            "epochs, so longer training is another run; train one with another --name"
        )
    layers = [ConfigLayer(str(path), config.model_dump(mode="json")), ConfigLayer(SET_ORIGIN, {"epochs": epochs})]
    longer = config_from_layers(layers)
    if longer.epochs < config.epochs:
        raise ConfigError(f"--resume {path}: epochs={epochs}: the run has {config.epochs}; it cannot be shortened")
    return longer


def open_runs(paths: Sequence[Path], fuse: bool, weights: Sequence[float]) -> tuple[list[Run], list[float]]:
    """Open the runs that `eval` was given, or the newest, with their weights for --fuse (empty without it)."""
    runs = [load_run(path) for path in paths] or [open_newest_run()]
    if weights and not fuse:
        raise click.UsageError("--weights belongs to --fuse")
    if fuse and len({run.digest for run in runs}) < len(runs):
        raise click.UsageError("--fuse needs different runs; the same one was named twice")
    return runs, choose_weights(runs, weights) if fuse else []


def evaluate_runs(
    runs: Sequence[Run],
    fusion_weights: Sequence[float],
    store: Path | None,
    split: str | None,
    settings: Sequence[str],
    *,
    device: str,
    progress: Callable[[Run], Any],
    **options: Any,
) -> dict[str, Any]:
    """Evaluate each run, and with weights also the weighted sum of their scores.

    Args:
        runs: to evaluate.
        fusion_weights: one for each run, or none.
        store: another store than the runs were trained on.
        split: another split.
        settings: `KEY=VALUE` of the evaluation.
        device: as --device.
        progress: makes the progress bar of a run.
        **options: further fields of the request.

    Returns:
        The results of each run by its path, by protocol; those of the weighted sum as `fused`.
    """
    results: dict[str, Any] = {}
    for run in runs:
        data = find_run_store(run, store)
        request = EvaluateRequest(
            run=run,
            store=data,
            split=find_run_split(run, data, split),
            device=command_device(device),
            config=compose_eval(settings, run.preset),
            **options,
        )
        print_note(_describe_preset_settings(run.preset, request.protocols, settings))
        with progress(run) as bar:
            results[str(run.path)] = evaluate(request, bar.print_line)
    if fusion_weights:
        results["fused"] = fuse_runs(runs, list(results.values()), fusion_weights)
    return results


def _describe_preset_settings(preset: str, protocols: Sequence[str], settings: Sequence[str]) -> list[str]:
    """Return a line with the evaluation settings that come from a preset and not from --set; none: no line."""
    origins = value_origins(eval_layers(settings, preset))
    values = [
        f"{key}={value}"
        for layer in eval_layers(preset=preset)
        for key, value in flatten(layer.values).items()
        if key.partition(".")[0] in protocols and origins[key] == layer.origin
    ]
    return [f"evaluation settings of preset {preset}: {', '.join(values)}"] if values else []


def resolve_config(
    path: Path | None,
    split: str | None,
    preset: str | None,
    config: Path | None,
    settings: Sequence[str],
    *,
    evaluation: bool,
    toml: bool,
) -> EffectiveConfig:
    """Return the configuration that `config show` prints: of an evaluation, of a run, or of a new pre-training."""
    pretrain_options = {"--split": split, "--preset": preset, "--config": config}
    if evaluation:
        reject_combination("--eval", {"--split": split, "--config": config, "--toml": toml})
        if preset is None and path is not None:
            preset = load_run(path).preset
        elif preset is not None:
            reject_combination("RUN", {"--preset": preset if path else None})
            load_preset(preset)
        return effective_eval_config(settings, preset)
    if path is not None and (path / RUN_FILE).is_file():
        reason = ": a run is shown with the configuration that it was trained with"
        reject_combination("RUN", {**pretrain_options, "--set": settings}, reason)
        return effective_run_config(load_run(path))
    name, chosen, data = resolve_preset(path, split, preset)
    clips = len(data[1].train) if data else None
    return effective_pretrain_config(name, pretrain_layers(name, chosen, config, settings, clips), data)


def resolve_preset(
    path: Path | None, split: str | None, preset: str | None
) -> tuple[str, Preset, tuple[Store, Split] | None]:
    """Return name and content of the preset that `pretrain` would use, and its data; None if there is no store."""
    is_named = path is not None or split is not None
    reason = "" if is_named or find_stores(PROCESSED_FOLDER) else f"no store in {PROCESSED_FOLDER}/"
    if not reason:
        opened = open_store(path)
        reason = "" if is_named or built_split_names(opened) else "the store has no splits (`skelepipe build-splits`)"
    if reason:
        name = preset or QUICK_PRESET
        print_note([f"{reason}: this is preset {name} before it is fitted to data"])
        return name, load_preset(name), None
    chosen = find_split(opened, split)
    name, found, advice = choose_preset(
        preset,
        opened.attributes["dataset"],
        chosen.name,
        has_gpu=choose_device().type == "cuda",
        clips=len(chosen.train),
    )
    print_note(advice)
    return name, found, (opened, chosen)
