import numpy as np
import torch

from tests.support import reference
from trainer.data.counter_rng import generator, seed_torch, uniform

SAMPLES = torch.tensor([0, 1, 77, 2**40, 5])


def test_draws_match_a_reference_in_python_integers():
    for seed, epoch, view in [(0, 0, 0), (2, 300, 1), (2**63 + 5, 1, 0)]:
        expected = [reference.hashed_uniforms(seed, epoch, sample, view, 6) for sample in SAMPLES.tolist()]
        assert uniform(seed, epoch, SAMPLES, view, 6).tolist() == expected


def test_draws_have_not_changed_between_versions():
    found = uniform(7, 3, torch.tensor([11, 12]), 1, 3) * 2**24
    assert found.long().tolist() == [[12877154, 16294247, 6498889], [8811781, 12253980, 13166116]]
    assert found.dtype == torch.float32
    assert generator(7, 3, 1).integers(1000, size=4).tolist() == [448, 1, 220, 931]
    seed_torch(7, 3, 1)
    assert torch.initial_seed() == 5301008616593229763


def test_draws_do_not_depend_on_the_batch():
    whole = uniform(1, 2, SAMPLES, 0, 7)
    order = torch.tensor([3, 0, 4, 1, 2])
    assert torch.equal(uniform(1, 2, SAMPLES[order], 0, 7), whole[order])
    assert torch.equal(uniform(1, 2, SAMPLES[2:3], 0, 4), whole[2:3, :4])


def test_seeds_epochs_samples_views_and_positions_all_differ():
    ids = torch.arange(50)
    made = [uniform(s, e, ids, v, 20) for s in range(3) for e in range(3) for v in range(2)]
    values = torch.stack(made).flatten()
    # 18,000 draws of 2**24 values: about ten pairs meet by chance.
    assert len(values) - len(values.unique()) < 30


def test_draws_are_uniform_and_unrelated():
    drawn = uniform(0, 1, torch.arange(20_000), 0, 10).double().numpy()
    assert drawn.min() >= 0
    assert drawn.max() < 1
    counts, _ = np.histogram(drawn, bins=256, range=(0, 1))
    expected = drawn.size / 256
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    assert abs(chi_square - 255) < 5 * np.sqrt(2 * 255)
    other = uniform(0, 2, torch.arange(20_000), 0, 1).double().numpy()
    related = np.corrcoef(np.concatenate([drawn, other, np.roll(drawn[:, :1], 1)], axis=1), rowvar=False)
    assert np.abs(related - np.eye(12)).max() < 5 / np.sqrt(20_000)


def test_generators_depend_on_seed_step_and_repeat():
    places = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1)]
    first = [generator(*place).random(4).tolist() for place in places]
    assert first == [generator(*place).random(4).tolist() for place in places]
    assert len({tuple(draws) for draws in first}) == len(places)


def test_seeding_torch_repeats_dropout_but_not_the_batch_draws():
    seen = []
    for place in [(0, 5, 0), (0, 5, 0), (0, 6, 0), (0, 5, 1)]:
        seed_torch(*place)
        seen.append(torch.rand(4).tolist())
    assert seen[0] == seen[1]
    assert len({tuple(draws) for draws in seen}) == 3
