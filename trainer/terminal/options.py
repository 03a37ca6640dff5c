"""Options and arguments that several commands share, and checks of options that cannot be combined."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from pipeline.errors import ConfigError
from trainer.terminal.commands import NAMED_PATH
from trainer.terminal.completion import complete_preset, complete_setting, complete_split

DATASETS = ("ntu60", "ntu120", "pku1", "pku2", "folder")
TOOLS = ("mediapipe", "openpose", "coco", "azure-kinect", "kinect-v1", "bvh")
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

dataset_argument = click.argument("dataset", type=click.Choice(DATASETS), metavar="DATASET")
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
force_option = click.option("--force", is_flag=True, help="Replace existing output that was made from other input.")
replace_option = click.option("--force", is_flag=True, help="Replace existing files of these names.")
checkpoint_options = click.option(
    "--checkpoint",
    type=click.Choice(["last", "best"]),
    default="last",
    show_default=True,
    help="Checkpoint of the run. best: the highest kNN accuracy on held-out training clips; needs a training with "
    "validate_every.",
)
device_option = click.option(
    "--device", default="auto", show_default=True, help="auto, cpu, cuda, or the number of a GPU: 0."
)
fast_option = click.option(
    "--fast",
    type=click.Choice(["on", "off"]),
    default="on",
    show_default=True,
    callback=lambda context, option, value: value == "on",
    help="Use the faster implementation of the encoder: compiled loops on a CPU, a CUDA graph when training on one "
    "GPU. off: the plain implementation. The results are equal except for rounding.",
)
setting_option = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    shell_complete=complete_setting,
    help="Override single values of preset and file: epochs=50. docs/training/settings.md lists all keys.",
)


def device_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --fast and --device."""
    return fast_option(device_option(command))


def config_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --split, --preset, --config and --set, the options that a training configuration is made from."""
    split = click.option(
        "--split", shell_complete=complete_split, help="The split to train on.  [default: xsub, else the first]"
    )
    preset = click.option(
        "--preset",
        shell_complete=complete_preset,
        help="A named configuration: quick, DATASET-SPLIT, reference-DATASET-SPLIT.  "
        "[default: on a GPU DATASET-SPLIT, for own data full; on a CPU or for little data quick]",
    )
    config = click.option("--config", type=NAMED_PATH, help="A TOML file whose values override the preset.")
    return split(preset(config(setting_option(command))))


def reject_combination(option: str, others: Mapping[str, Any], reason: str = "") -> None:
    """Raise a usage error if `option` is combined with others that were given.

    Args:
        option: that was given.
        others: values of other options by name; an empty or false value was not given.
        reason: added to the message.
    """
    for other, value in others.items():
        if value:
            raise click.UsageError(f"{option} and {other} cannot be combined{reason}")


def flag_names(options: Mapping[str, Any]) -> dict[str, Any]:
    """Replace parameter names by the names that users type: `streams` by `--stream`."""
    return {f"--{name.removesuffix('s')}": value for name, value in options.items()}


def reject_options_of_other_kind(path: Path, kind: str, options: Mapping[str, Any]) -> None:
    """Raise an error if `export` of a run was given options for stores, or the other way round."""
    if wrong := [option for option, value in options.items() if value]:
        formats, other = ("onnx", "stores") if kind == "run" else ("npz, ctrgcn, stgcn, pyskl or hdf5", "runs")
        belong = f"{' and '.join(wrong)} {'belongs' if len(wrong) == 1 else 'belong'} to {other}"
        raise ConfigError(f"{path}: is a {kind}, which can be exported to --format {formats}; {belong}")
