from operator import attrgetter
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.errors import ConfigError
from pipeline.recipes.recipe import load_recipe
from pipeline.sources.ntu.names import NTU60
from pipeline.store.split_rules import OFFICIAL_RULES
from trainer.config.evaluation import compose_eval
from trainer.config.presets import (
    choose_preset,
    compose_pretrain,
    config_from_layers,
    load_preset,
    preset_names,
    pretrain_layers,
)
from trainer.config.pretrain import PretrainConfig


@pytest.mark.parametrize("name", preset_names())
def test_every_shipped_preset_is_valid_and_has_a_description(name: str) -> None:
    shipped = load_preset(name)
    assert shipped.about.description
    assert compose_pretrain(shipped)
    assert bool(shipped.about.published) == bool(shipped.about.source)
    assert not shipped.about.published or compose_pretrain(shipped).stream == "joint"
    if shipped.about.dataset is not None:
        assert shipped.about.split in {rule.name for rule in OFFICIAL_RULES[shipped.about.dataset]}
        assert name.endswith(f"{shipped.about.dataset}-{shipped.about.split}")
    if (asked := compose_pretrain(shipped).recipe) is not None:
        assert load_recipe(asked).name == asked


def test_every_official_split_has_a_preset_with_the_default_recipe_and_its_number_of_clips() -> None:
    counts = {
        ("ntu60", "xsub"): (40_091, 80.7),
        ("ntu60", "xview"): (37_646, 85.5),
        ("ntu120", "xsub"): (63_026, 69.0),
        ("ntu120", "xset"): (54_468, 68.2),
    }  # of the names of all recordings: test_ntu_names.py; of the README of czhaneva/SkeleMixCLR
    for dataset, rules in OFFICIAL_RULES.items():
        for rule in rules:
            shipped = load_preset(f"{dataset}-{rule.name}")
            clips, linear = counts.get((dataset, rule.name), (None, None))
            assert shipped.about.train_clips == clips
            assert shipped.about.published.get("linear") == linear
            assert compose_pretrain(shipped).recipe == "clean"
            assert compose_pretrain(shipped).method == PretrainConfig().method


def test_the_reference_presets_match_the_released_code_with_its_quirks() -> None:
    plus = compose_pretrain(load_preset("reference-ntu60-xsub"))
    assert (plus.recipe, plus.frames, plus.schedule) == ("skelemixclr", 64, "constant")
    older = compose_pretrain(load_preset("reference-skeletonclr-ntu60-xview"))
    assert (older.recipe, older.frames, older.schedule, older.milestones) == ("crosclr", 50, "step", (250,))
    assert (older.method.name, older.method.temperature, older.encoder.head_norm) == ("skeletonclr", 0.07, False)
    for config in (plus, older):
        assert (config.encoder.init, config.pair.start, config.augment.same_every_epoch) == ("reference", "apart", True)
    assert (PretrainConfig().encoder.init, PretrainConfig().pair.start) == ("torch", "copy")
    assert not PretrainConfig().augment.same_every_epoch
    linear = [compose_eval(preset=f"reference-{name}ntu60-xsub").linear for name in ("", "skeletonclr-")]
    assert [(config.epochs, round(config.decay_at * config.epochs)) for config in linear] == [(150, 80), (100, 80)]


def test_the_defaults_are_the_released_configuration() -> None:
    config = PretrainConfig()
    assert (config.frames, config.batch_size, config.epochs, config.learning_rate) == (64, 128, 300, 0.1)
    assert (config.method.name, config.method.temperature) == ("skelemixclr+", 0.2)
    assert (config.pair.queue_size, config.pair.momentum) == (32768, 0.999)
    mix = config.method.mix  # parts and frames not given are 2 to 3 of 5 and 7 to 11 of 16: test_skelemix.py
    assert (mix.joints, mix.parts, mix.frames, mix.repeats) == ("parts", None, None, 3)
    assert (mix.fill, mix.per) == ("swap", "batch")
    assert (config.encoder.hidden_channels, config.encoder.hidden_dim, config.encoder.feature_dim) == (16, 256, 128)


def test_set_overrides_file_overrides_preset(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("epochs = 7\nbatch_size = 9\n[encoder]\nhidden_channels = 4\n")
    config = compose_pretrain(
        load_preset("quick"), file, ["batch_size=11", "method.name=skeletonclr", "encoder.hidden_dim=32"]
    )
    assert (config.epochs, config.batch_size, config.frames) == (7, 11, 32)
    assert (config.encoder.hidden_channels, config.encoder.hidden_dim) == (4, 32)
    assert config.method.name == "skeletonclr"


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("epoch=3", r"^--set epoch: no such key \(did you mean epochs\?\)$"),
        ("qwertz=3", "^--set qwertz: no such key; known: frames, bodies"),
        ("queue_size=16", r"^--set queue_size: no such key \(did you mean pair.queue_size\?\)"),
        ("method.mix.fil=zeros", r"method.mix.fil: no such key \(did you mean method.mix.fill\?\)"),
        ("pear.queue_size=16", r"^--set pear.queue_size: .*did you mean pair.queue_size\?"),
        ("encoder.qwertz=3", "encoder.qwertz: no such key; known in encoder: name, hidden_channels, hidden_dim"),
        ("stream=bones", r"^--set stream: 'bones' is not one of joint, motion, bone \(did you mean bone\?\)"),
        ("pair=3", "^--set pair: is a table, not a value; it takes momentum, queue_size, start"),
        ("warm_up=1000", "^configuration: warm_up: 1000.0 is more than the 60 epochs"),
        ("epochs=0", "epochs: .*greater than or equal to 1"),
        ("epochs=many", "epochs: .*valid integer"),
        ("encoder.width=3", "encoder.width"),
        ("epochs.a=3", "epochs: .*valid integer"),
        ("learning_rate=inf", "learning_rate: .*finite"),
        ("method.temperature=inf", r"method.temperature: .*finite"),
        ("pair.momentum=nan", r"pair.momentum: .*finite"),
        ("pair.momentum=1.01", r"pair.momentum: .*less than or equal to 1"),
        ("pair.momentum=-0.01", r"pair.momentum: .*greater than or equal to 0"),
        ("pair.queue_size=0", r"pair.queue_size: .*greater than or equal to 1"),
        ("method.mix.repeats=0", r"method.mix.repeats: .*greater than or equal to 1"),
        ("seed=18446744073709551616", "seed: .*less than"),
        ("epochs", "expected KEY=VALUE"),
        ("=3", "expected KEY=VALUE"),
    ],
)
def test_an_impossible_setting_is_refused_by_its_key(setting: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        compose_pretrain(load_preset("quick"), None, [setting])


@pytest.mark.parametrize("part", ["", "augment", "encoder", "method", "method.mix", "pair"])
def test_a_configuration_is_immutable(part: str) -> None:
    config = attrgetter(part)(PretrainConfig()) if part else PretrainConfig()
    for name in type(config).model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(config, name, getattr(config, name))


def test_an_unreadable_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml"):
        compose_pretrain(load_preset("quick"), tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("dataset", "has_gpu", "clips", "name", "advice"),
    [
        ("ntu60", True, 37_646, "ntu60-xview", []),
        ("ntu60", False, 37_646, "quick", ["no GPU: ", "--preset ntu60-xview"]),
        ("ntu60", True, 1999, "quick", ["less than 2,000 training clips: ", "--preset ntu60-xview"]),
        ("mine", True, 2000, "full", []),
        ("mine", False, 2000, "quick", ["no GPU: ", "--preset full"]),
    ],
)
def test_the_default_preset_suits_the_device_and_the_data(
    dataset: str, has_gpu: bool, clips: int, name: str, advice: list[str]
) -> None:
    chosen, _, lines = choose_preset(None, dataset, "xview", has_gpu=has_gpu, clips=clips)
    assert chosen == name
    assert all(part in line for line in lines for part in advice)
    assert len(lines) == bool(advice)


def test_a_named_preset_is_used_with_advice_if_it_does_not_suit() -> None:
    name, _, advice = choose_preset("ntu60-xview", "ntu60", "xview", has_gpu=False)
    assert name == "ntu60-xview"
    assert "--preset quick" in advice[0]
    assert choose_preset(None, "ntu60", "xview", has_gpu=True)[2] == []
    assert choose_preset("ntu60-xview", "ntu60", "xsub", has_gpu=True)[2] == [
        "preset ntu60-xview is for ntu60 xview, not ntu60 xsub"
    ]
    with pytest.raises(ConfigError, match="unknown preset 'fast'; known: demo, full, ntu120-xset"):
        choose_preset("fast", "ntu60", "xsub", has_gpu=False)


@pytest.mark.parametrize(("clips", "batch"), [(64, 64), (63, 31), (12, 6), (3, 64)])
def test_a_batch_of_quick_is_fitted_to_few_clips(clips: int, batch: int) -> None:
    quick = load_preset("quick")
    assert config_from_layers(pretrain_layers("quick", quick, clips=clips)).batch_size == batch
    assert config_from_layers(pretrain_layers("quick", quick, settings=["batch_size=9"], clips=clips)).batch_size == 9
    full = load_preset("ntu60-xsub")
    assert config_from_layers(pretrain_layers("ntu60-xsub", full, clips=clips)).batch_size == 128


@pytest.mark.parametrize(("clips", "queue"), [(64, 32), (1188, 512), (40_091, 16_384)])
def test_fitting_scales_the_queue_and_the_key_momentum_with_the_data(clips: int, queue: int) -> None:
    config = PretrainConfig(fit_to_data=True, batch_size=64).fitted(clips, bodies=1)
    assert config.bodies == 1
    assert config.pair.queue_size == queue <= clips / 2
    assert 0.9 <= config.pair.momentum <= 0.999


def test_fitting_keeps_explicit_values() -> None:
    config = compose_pretrain(load_preset("quick"), None, ["pair.queue_size=96", "bodies=2"]).fitted(1188, bodies=1)
    assert (config.pair.queue_size, config.bodies) == (96, 2)
    assert config.pair.momentum == compose_pretrain(load_preset("quick")).fitted(1188, bodies=1).pair.momentum


def test_without_fitting_nothing_changes_and_the_batch_must_fit() -> None:
    config = PretrainConfig()
    assert config.fitted(NTU60.captured, bodies=1) == config
    with pytest.raises(ConfigError, match="batch_size 128 is more than the 100 training clips"):
        config.fitted(100, bodies=1)
