"""docs/training.md tells of every preset and every setting what the code has."""

import json
import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from trainer.config.presets import compose_pretrain, load_preset, preset_names
from trainer.config.pretrain import PretrainConfig

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")


def presets_table() -> list[str]:
    """The page's table of presets, from their files."""
    rows = ["| preset | training clips | recipe | method | T | published | source |", "|---|---|---|---|---|---|---|"]
    for name in preset_names():
        about, config = load_preset(name).about, compose_pretrain(load_preset(name))
        cells = (
            f"`{name}`",
            f"{about.train_clips:,}" if about.train_clips else "",
            f"`{config.recipe}`" if config.recipe else "any",
            config.method.name,
            str(config.frames),
            ", ".join(f"{number}" for number in about.published.values()),
            about.source,
        )
        rows.append("| " + " | ".join(cells) + " |")
    return [row.replace("|  |", "| |").replace("|  |", "| |") for row in rows]


def defaults(config: BaseModel, above: str = "") -> dict[str, Any]:
    """Every setting's dotted name and default."""
    found: dict[str, Any] = {}
    for name in type(config).model_fields:
        value = getattr(config, name)
        found |= defaults(value, f"{above}{name}.") if isinstance(value, BaseModel) else {above + name: value}
    return found


def test_the_table_of_presets_is_that_of_their_files() -> None:
    table = presets_table()
    start = PAGE.index(table[0])
    assert PAGE[start:].split("\n\n")[0].splitlines() == table


def test_every_setting_is_told_with_its_default() -> None:
    told = dict(re.findall(r"(?m)^\| `([a-z_.]+)` \| ([^|]*?) \| .", PAGE[PAGE.index("## Settings") :]))
    expected = {
        name: "not given" if value is None else f"`{json.dumps(value)}`"
        for name, value in defaults(PretrainConfig()).items()
    }
    assert told == expected
