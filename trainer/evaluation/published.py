"""The number that a method's authors published for an evaluation, and every difference from what they did."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trainer.config.evaluation import compose_eval
from trainer.config.layers import flatten, flatten_model
from trainer.config.presets import Preset, compose_pretrain, load_preset, preset_names
from trainer.config.pretrain import FITTED_KEYS
from trainer.evaluation.results import Lineage
from trainer.runs.run import Run

BEST_TEST_EPOCH = "best test epoch"
"""Words in the source of numbers that were selected on the test clips."""
NOT_COMPARED = frozenset({"seed", "test_every", "recipe"})
"""Settings that do not make a number incomparable; the recipe of the store itself is compared."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedNumber:
    """A published top-1 accuracy, in per cent."""

    preset: str
    """The preset with the authors' settings."""
    top1: float
    source: str
    differences: tuple[str, ...]
    """Such as `epochs 1 instead of 300`; empty if the evaluation can be compared."""

    @property
    def is_best_epoch(self) -> bool:
        """Whether the authors selected the epoch on the test clips."""
        return BEST_TEST_EPOCH in self.source


def find_published(run: Run, lineage: Lineage, protocol: str, settings: Mapping[str, Any]) -> PublishedNumber | None:
    """Find the published number for an evaluation on the store that its run was trained on; None if there is none.

    Args:
        run: the evaluated run.
        lineage: of the evaluation.
        protocol: such as `linear` or `semi-0.1`.
        settings: of the protocol, as they are stored with the result.
    """
    store, split = run.lineage["store"], lineage.split
    if lineage.store.digest != store["digest"]:
        return None
    for name in (run.preset, f"{store.get('dataset')}-{split.name}"):
        if name not in preset_names():
            continue
        preset = load_preset(name)
        about = preset.about
        if (about.dataset, about.split) == (store.get("dataset"), split.name) and protocol in about.published:
            return PublishedNumber(
                preset=name,
                top1=about.published[protocol],
                source=about.source,
                differences=tuple(_differences(run, lineage, protocol, settings, name, preset)),
            )
    return None


def settings_off_preset(run: Run, name: str) -> dict[str, tuple[Any, Any]]:
    """Settings of a run that differ from a preset's, by key: the run's value and the preset's.

    The seed is left out, and so are settings that the run has fitted to its data.
    """
    ours, preset = flatten_model(run.config), flatten_model(compose_pretrain(load_preset(name)))
    ignored = {"seed", *(FITTED_KEYS if run.config.fit_to_data else ())}
    return {
        key: (value, preset.get(key)) for key, value in ours.items() if value != preset.get(key) and key not in ignored
    }


def _differences(
    run: Run, lineage: Lineage, protocol: str, settings: Mapping[str, Any], name: str, preset: Preset
) -> Iterator[str]:
    clips, checkpoint = preset.about.train_clips, lineage.checkpoint
    if clips and lineage.split.train != clips:
        cause = ": the store is incomplete or synthetic" if lineage.split.train < clips else ""
        yield f"{lineage.split.train:,} training clips instead of {clips:,}{cause}"
    recipe = run.lineage["store"]["recipe"]["name"]
    wanted = preset.config.get("recipe")
    if wanted not in (None, recipe):
        yield f"recipe {recipe} instead of {wanted}"
    for key, (ours, theirs) in settings_off_preset(run, name).items():
        if key not in NOT_COMPARED:
            yield f"{key} {ours} instead of {theirs}"
    if checkpoint.which != "last" or checkpoint.step != checkpoint.total_steps:
        yield f"{checkpoint.which} checkpoint, step {checkpoint.step:,} of {checkpoint.total_steps:,}"
    config = compose_eval(preset=name)
    group = config.semi_for(float(protocol.partition("-")[2])) if protocol.startswith("semi-") else None
    published = flatten((group or getattr(config, protocol)).model_dump(mode="json"))
    for key, ours in flatten(dict(settings)).items():
        if key in published and key not in NOT_COMPARED and ours != published[key]:
            yield f"{protocol}.{key} {ours} instead of {published[key]}"
