"""Shell completion: the setup line for each shell, and completions for presets, recipes, settings, stores and runs.

Click completes commands, options, choices and files. The functions below complete a parameter's value; they import
pydantic at most, so that an answer takes a fraction of a second.
"""

from collections.abc import Iterable
from importlib import resources
from pathlib import Path

import click
from click.shell_completion import CompletionItem, get_completion_class

from pipeline.artifacts.paths import PROCESSED_FOLDER, RUNS_FOLDER, built_splits, find_runs, find_stores, newest_path
from trainer.terminal.commands import COMPLETE_VARIABLE

SHELLS = {
    "bash": 'eval "$(skelepipe completion bash)"  # in ~/.bashrc',
    "zsh": 'eval "$(skelepipe completion zsh)"  # in ~/.zshrc, below compinit',
    "fish": "skelepipe completion fish | source  # in ~/.config/fish/config.fish",
}
"""The line that turns completion on in each shell."""


def completion_script(shell: str, command: click.Command) -> str:
    """Return click's completion script for a shell."""
    complete_class = get_completion_class(shell)
    assert complete_class is not None, shell
    return complete_class(command, {}, "skelepipe", COMPLETE_VARIABLE).source()


def complete_recipe(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the name of a shipped recipe, or a file."""
    return _matching(_toml_names("pipeline.recipes", "shipped"), incomplete) or _files(incomplete)


def complete_preset(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the name of a shipped preset."""
    return _matching(_toml_names("trainer.config", "presets"), incomplete)


def complete_setting(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete `KEY=`, or after `=` one of a key's few possible values."""
    from trainer.config.evaluation import EvalConfig  # noqa: PLC0415
    from trainer.config.keys import keys_of_model  # noqa: PLC0415
    from trainer.config.pretrain import PretrainConfig  # noqa: PLC0415

    is_eval = ctx.info_name == "eval" or ctx.params.get("evaluation")
    keys = keys_of_model(EvalConfig if is_eval else PretrainConfig)
    name, equals, _ = incomplete.partition("=")
    if equals:
        return _matching([f"{name}={choice}" for choice in (keys[name].choices if name in keys else ())], incomplete)
    return [CompletionItem(f"{path}=", help=key.about) for path, key in keys.items() if path.startswith(incomplete)]


def complete_store(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete a store in processed/, or any path."""
    return _matching(map(str, find_stores(PROCESSED_FOLDER)), incomplete) or _files(incomplete)


def complete_run(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete a run in runs/, or any path."""
    return _matching(map(str, find_runs(RUNS_FOLDER)), incomplete) or _files(incomplete)


def complete_store_or_run(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete a store in processed/, a run in runs/, or any path."""
    paths = [*find_stores(PROCESSED_FOLDER), *find_runs(RUNS_FOLDER)]
    return _matching(map(str, paths), incomplete) or _files(incomplete)


def complete_split(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete a split that was built for the store on the command line, or else for the newest store."""
    named = ctx.params.get("store")
    store = Path(named) if named else newest_path(PROCESSED_FOLDER, "store", find_stores(PROCESSED_FOLDER))
    return _matching(built_splits(store) if store else (), incomplete)


def _toml_names(package: str, folder: str) -> list[str]:
    """Return the names of the TOML files in a folder of a package; reading them would import numba."""
    files = (resources.files(package) / folder).iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def _matching(words: Iterable[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(word) for word in words if word.startswith(incomplete)]


def _files(incomplete: str) -> list[CompletionItem]:
    """Let the shell complete files."""
    return [CompletionItem(incomplete, type="file")]
