"""The words that may stand at a place of the command line, for the shell to complete; nothing heavy is imported."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.artifacts.paths import PROCESSED_FOLDER, RUNS_FOLDER, built_splits, find_runs, find_stores, newest_path
from pipeline.recipes.recipe import load_recipe, shipped_recipes
from trainer.config.evaluation import EvalConfig
from trainer.config.keys import keys_of_model
from trainer.config.presets import load_preset, preset_names
from trainer.config.pretrain import PretrainConfig

SPLITS = {"ntu60": ("xsub", "xview"), "ntu120": ("xsub", "xset"), "pku1": ("xsub", "xview"), "pku2": ("xsub", "xview")}
"""The official splits by data set, as pipeline/store/split_rules.py has their rules."""

Given = Mapping[str, Any]
"""What stands before: the command, and its parameters by name."""
Words = Iterator[tuple[str, str]]
"""Words, each with what there is to say of it."""


def recipes(given: Given) -> Words:
    """Shipped recipes."""
    for name in shipped_recipes():
        yield name, load_recipe(name).description


def presets(given: Given) -> Words:
    """Shipped presets."""
    for name in preset_names():
        yield name, load_preset(name).about.description


def settings(given: Given) -> Words:
    """What `--set` takes: keys, and behind `=` the words that one can be."""
    asked = given["command"] == "eval" or given.get("evaluation")
    for key in keys_of_model(EvalConfig if asked else PretrainConfig).values():
        yield f"{key.path}=", key.about
        yield from ((f"{key.path}={choice}", "") for choice in key.choices)


def stores(given: Given) -> Words:
    """Stores in processed/."""
    yield from ((str(path), "") for path in find_stores(PROCESSED_FOLDER))


def runs(given: Given) -> Words:
    """Runs in runs/."""
    yield from ((str(path), "") for path in find_runs(RUNS_FOLDER))


def artifacts(given: Given) -> Words:
    """Stores and runs."""
    yield from stores(given)
    yield from runs(given)


def samples(given: Given) -> Words:
    """Clips of the store that was named, as pipeline/store/FORMAT.md says they lie there."""
    folder = Path(given.get("store") or "") / "name"
    try:
        count, width = json.loads((folder / "zarr.json").read_text(encoding="utf-8"))["shape"]
        rows = (folder / "c" / "0" / "0").read_bytes()
        for start in range(0, count * width, width):
            yield rows[start : start + width].rstrip(b"\0").decode(), ""
    except (OSError, ValueError, KeyError, TypeError):
        return


def built_split_choices(given: Given) -> Words:
    """Splits of the store that was named, or else of the newest one, that have been built."""
    store = given.get("store") or newest_path(PROCESSED_FOLDER, "store", find_stores(PROCESSED_FOLDER))
    yield from ((name, "") for name in (built_splits(Path(store)) if store else ()))


def possible_splits(given: Given) -> Words:
    """Splits that the store can have."""
    store = given.get("store") or newest_path(PROCESSED_FOLDER, "store", find_stores(PROCESSED_FOLDER))
    facts = _facts(Path(store)) if store else {}
    brought = facts.get("splits")
    names = SPLITS.get(str(facts.get("dataset")), tuple(brought) if isinstance(brought, dict) else ())
    yield from ((name, "") for name in names)


def classifiers(given: Given) -> Words:
    """Classifiers that evaluations left with the run."""
    for path in sorted(Path(given.get("run") or "").glob("eval/[!.]*.classifier")):
        yield path.stem, ""


def streams(given: Given) -> Words:
    """What of a clip is trained on."""
    yield from ((name, "") for name in keys_of_model(PretrainConfig)["stream"].choices)


def methods(given: Given) -> Words:
    """Methods of pre-training."""
    yield from ((name, "") for name in keys_of_model(PretrainConfig)["method.name"].choices)


def devices(given: Given) -> Words:
    """Where work can be done."""
    yield from ((name, "") for name in ("auto", "cpu", "cuda"))


COMPLETERS: Mapping[str, Callable[[Given], Words]] = {
    "recipe": recipes,
    "preset": presets,
    "settings": settings,
    "store": stores,
    "run": runs,
    "path": artifacts,
    "samples": samples,
    "split": built_split_choices,
    "names": possible_splits,
    "classifier": classifiers,
    "stream": streams,
    "method_name": methods,
    "device": devices,
}
"""What completes a parameter, by its name."""


def complete(place: str, start: str, given: Given) -> list[tuple[str, str]]:
    """The words of a place that begin with what has been typed; values of a setting once its key is there."""
    words = [(word, about) for word, about in COMPLETERS[place](given) if word.startswith(start)]
    return [(word, about) for word, about in words if place != "settings" or ("=" in start) != word.endswith("=")]


def _facts(store: Path) -> dict[str, Any]:
    try:
        facts = json.loads((store / "zarr.json").read_bytes())["attributes"]["skelepipe"]
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return {}
    return facts if isinstance(facts, dict) else {}
