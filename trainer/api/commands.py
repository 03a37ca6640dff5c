"""`ingest`, `build-splits` and `pretrain` as functions with keyword arguments and the defaults of the commands."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.artifacts.paths import default_store
from pipeline.ingest import ingest as ingest_module
from pipeline.ingest.request import IngestRequest
from pipeline.recipes.recipe import load_recipe
from pipeline.store import build_splits as splits_module
from pipeline.store.splits import Split
from pipeline.store.store import Store
from trainer.api.trained_run import TrainedRun
from trainer.config.layers import ConfigLayer, merge
from trainer.pretrain import pretrain as pretrain_module
from trainer.pretrain.compose import compose_request
from trainer.runtime.device import choose_device, make_arithmetic_exact
from trainer.terminal.console import FIRST_RUN_NOTE, ProgressBar
from trainer.terminal.training_output import TrainingBar

PathLike = Path | str


def ingest(
    dataset: str,
    raw: PathLike | Sequence[PathLike] = "raw",
    *,
    out: PathLike | None = None,
    recipe: str = "clean",
    workers: int | None = None,
    force: bool = False,
    strict: bool = False,
    progress: bool = False,
) -> Store:
    """Build a store from recordings, or open it if it is up to date: `skelepipe ingest`.

    Recordings that cannot be used are left out; `store.quarantine` lists them with the reasons.

    Args:
        dataset: ntu60, ntu120, pku1, pku2 or folder.
        raw: a folder or zip with the recordings, or several.
        out: path of the store; default: as the command.
        recipe: name of a shipped recipe, or a TOML file.
        workers: number of processes; default: one per core, or a single one for little data. With several, a script
            needs `if __name__ == "__main__":`.
        force: replace a store that was made from other input.
        strict: write nothing if any recording cannot be used.
        progress: show a progress bar.

    Raises:
        SkelepipeError: input, recipe or output cannot be used.
    """
    roots = tuple(map(Path, [raw] if isinstance(raw, Path | str) else raw))
    request = IngestRequest(
        dataset=dataset,
        roots=roots,
        output=default_store(dataset, roots) if out is None else Path(out),
        recipe=load_recipe(str(recipe)),
        workers=workers,
        force=force,
        strict=strict,
    )
    with ProgressBar("ingest", FIRST_RUN_NOTE, shown=progress) as bar:
        result = ingest_module.ingest(request, bar.show_ingest)
    return Store(result.output)


def build_splits(
    store: Store | PathLike,
    names: Iterable[str] = (),
    *,
    fractions: Iterable[float] = (),
    seeds: Iterable[int] = (0,),
    split_file: PathLike | None = None,
) -> dict[str, Split]:
    """Build the train/test splits of a store, and labelled subsets of the training clips: `skelepipe build-splits`.

    Args:
        store: a store, or its path.
        names: the splits to build; default: all that are possible.
        fractions: fractions of the training clips whose labels are used, for semi-supervised evaluation.
        seeds: random seeds; each gives one subset of every fraction.
        split_file: lists of training and test recordings instead of the built-in rule.

    Returns:
        The splits by name; their `train` and `test` are rows of the store.

    Raises:
        SkelepipeError: a split cannot be built.
    """
    opened = store if isinstance(store, Store) else Store(store)
    file = None if split_file is None else Path(split_file)
    built = splits_module.build_splits(opened, names, fractions, seeds, file)
    return {split.name: split for split in built.splits}


def pretrain(
    store: Store | PathLike,
    *,
    split: str | None = None,
    preset: str | None = None,
    config: PathLike | None = None,
    out: PathLike | None = None,
    device: str = "auto",
    force: bool = False,
    progress: bool = False,
    settings: Mapping[str, Any] | None = None,
    **values: Any,
) -> TrainedRun:
    """Train an encoder, or resume the same training if it was interrupted: `skelepipe pretrain`.

    `pretrain(store, preset="quick", epochs=5, method={"temperature": 0.1})` and `settings={"method.temperature": 0.1}`
    set single values; docs/training/settings.md lists all. Sets torch to deterministic algorithms, as the command does.

    Args:
        store: a store, or its path.
        split: name or file of a split; its training clips are used. Default: xsub, else the first.
        preset: named settings; default: as the command.
        config: a TOML file whose values override the preset.
        out: folder of the run; default: as the command.
        device: auto, cpu, cuda or cuda:N.
        force: replace a run with other settings in the same folder.
        progress: show a progress bar with loss and remaining time.
        settings: single values by key such as `encoder.dropout`.
        **values: the same with Python names: `epochs=5`, `encoder={"dropout": 0.1}`.

    Raises:
        ConfigError: a setting is unknown or impossible.
        OutputExists: the folder has a run with other settings, and `force` is off.
        SkelepipeError: store or split cannot be used.
    """
    make_arithmetic_exact()
    request, _ = compose_request(
        store if isinstance(store, Store) else Store(store),
        split,
        preset,
        None if config is None else Path(config),
        (),
        [ConfigLayer("pretrain()", merge(_nested(settings or {}), values))],
        device=choose_device(device),
        output=None if out is None else Path(out),
        force=force,
    )
    with TrainingBar(shown=progress) as bar:
        result = pretrain_module.pretrain(request, bar.show_training, bar.print_line if progress else lambda line: None)
    return TrainedRun(result.run)


def _nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Turn `{"a.b": 1}` into `{"a": {"b": 1}}`."""
    result: dict[str, Any] = {}
    for key, value in settings.items():
        for part in reversed(key.split(".")):
            value = {part: value}
        result = merge(result, value)
    return result
