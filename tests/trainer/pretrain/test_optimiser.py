import pytest

from pipeline.errors import ConfigError
from trainer.config.presets import compose_pretrain, load_preset
from trainer.config.pretrain import PretrainConfig
from trainer.pretrain.optimiser import learning_rate


def rates(epochs, **settings):
    config = PretrainConfig(epochs=10, **settings)
    return [round(learning_rate(config, epoch), 6) for epoch in epochs]


def test_constant_and_cosine_schedules():
    assert set(rates([0, 5, 9.9])) == {0.1}
    assert rates([0, 5, 10], schedule="cosine") == [0.1, 0.05, 0.0]


def test_the_step_schedule_divides_by_ten_at_milestones():
    # The reference: base * 0.1 ** sum(epoch > milestone), epochs counted from 1, so that the 251st is the first less.
    found = rates([0, 3.99, 4, 6.99, 7, 9.99], schedule="step", milestones=(4, 7))
    assert found == [0.1, 0.1, 0.01, 0.01, 0.001, 0.001]


def test_warm_up_is_a_linear_factor_from_one_per_cent():
    assert rates([0, 1, 2, 9], warm_up=2) == [0.001, 0.0505, 0.1, 0.1]
    plain = rates([1, 4], schedule="cosine")
    assert rates([1, 4], schedule="cosine", warm_up=2) == [round(plain[0] * 0.505, 6), plain[1]]


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (["schedule=step"], "schedule = step takes milestones"),
        (["milestones=[5]"], "schedule = step takes milestones, .* no other schedule does"),
        (["schedule=step", "milestones=[5, 5]"], "must be increasing"),
        (["schedule=step", "milestones=[0]"], "must be increasing"),
        (["schedule=step", "milestones=[60]"], "less than 60 epochs"),
        (["warm_up=61"], "warm_up: 61.* is more than the 60 epochs"),
    ],
)
def test_an_invalid_schedule_is_rejected(settings, complaint):
    with pytest.raises(ConfigError, match=complaint):
        compose_pretrain(load_preset("quick"), None, settings)
