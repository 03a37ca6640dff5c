from dataclasses import replace

import pytest

from trainer.config.presets import compose_pretrain, load_preset
from trainer.evaluation.published import find_published, settings_off_preset
from trainer.evaluation.results import EvaluatedCheckpoint, Lineage
from trainer.runs.run import Run

PRESET = "ntu60-xsub"
SETTINGS = {"epochs": 150, "learning_rate": 3.0, "batch_size": 128}


@pytest.fixture
def as_published(shared_run: Run) -> Run:
    """A run with the published settings."""
    return replace(shared_run, preset=PRESET, config=compose_pretrain(load_preset(PRESET)))


@pytest.fixture
def lineage(shared_run: Run) -> Lineage:
    """The lineage of an evaluation of a complete training on the complete data set."""
    store, split = shared_run.lineage["store"], shared_run.lineage["split"]
    checkpoint = {"step": 9, "total_steps": 9}
    whole = {"name": "xsub", "digest": split["digest"], "train": 40_091, "test": 16_487}
    return Lineage.model_validate(
        {"run": {"digest": shared_run.digest}, "checkpoint": checkpoint, "store": store, "split": whole}
    )


def test_an_evaluation_of_the_published_settings_is_comparable(as_published: Run, lineage: Lineage) -> None:
    number = find_published(as_published, lineage, "linear", SETTINGS)
    assert number is not None
    assert (number.top1, number.differences, number.is_best_epoch) == (80.7, (), True)


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"epochs": 1}, "epochs 1 instead of 300"),
        ({"frames": 32}, "frames 32 instead of 64"),
        ({"batch_size": 64}, "batch_size 64 instead of 128"),
        ({"stream": "bone"}, "stream bone instead of joint"),
        ({"encoder": {"hidden_channels": 2}}, "encoder.hidden_channels 2 instead of 16"),
        ({"method": {"name": "skeletonclr"}}, "method.name skeletonclr instead of skelemixclr+"),
    ],
)
def test_other_settings_are_named(
    as_published: Run, lineage: Lineage, changes: dict[str, object], difference: str
) -> None:
    for key, value in changes.items():
        inner = getattr(as_published.config, key)
        new = inner.model_copy(update=value) if isinstance(value, dict) else value
        config = as_published.config.model_copy(update={key: new})
        number = find_published(replace(as_published, config=config), lineage, "linear", SETTINGS)
        assert number is not None
        assert number.differences == (difference,)


def test_another_recipe_fewer_clips_and_other_evaluation_settings_are_named(
    as_published: Run, lineage: Lineage
) -> None:
    store = {**as_published.lineage["store"], "recipe": {"name": "none"}}
    run = replace(as_published, lineage={**as_published.lineage, "store": store})
    split = lineage.split.model_copy(update={"train": 36})
    checkpoint = EvaluatedCheckpoint(which="best", step=3, total_steps=9)
    other = lineage.model_copy(update={"split": split, "checkpoint": checkpoint})
    number = find_published(run, other, "linear", {**SETTINGS, "learning_rate": 0.3})
    assert number is not None
    assert number.differences == (
        "36 training clips instead of 40,091: the store is incomplete or synthetic",
        "recipe none instead of clean",
        "best checkpoint, step 3 of 9",
        "linear.learning_rate 0.3 instead of 3.0",
    )


def test_there_is_no_number_for_other_data_or_protocols(as_published: Run, lineage: Lineage) -> None:
    store = lineage.store.model_copy(update={"digest": "0" * 64})
    assert find_published(as_published, lineage.model_copy(update={"store": store}), "linear", SETTINGS) is None
    split = lineage.split.model_copy(update={"name": "mine"})
    assert find_published(as_published, lineage.model_copy(update={"split": split}), "linear", SETTINGS) is None
    assert find_published(as_published, lineage, "knn", SETTINGS) is None


def test_settings_fitted_to_the_data_are_not_differences(shared_run: Run) -> None:
    keys = settings_off_preset(shared_run, "quick").keys()
    assert {"frames", "epochs"} <= keys
    assert not {"pair.queue_size", "bodies", "learning_rate", "seed"} & keys
