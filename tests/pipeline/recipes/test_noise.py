import numpy as np
import pytest

from pipeline.recipes.steps.noise_kernels import joint_noise, median
from tests.support.people import people
from tests.support.reference import naive_noise

pytestmark = pytest.mark.kernels


@pytest.mark.parametrize("known", [1, 2, 3, 4, 5, 8, 33, 100])
def test_the_median_equals_numpys_with_repeated_values(known):
    rng = np.random.default_rng(known)
    for kinds in (1, 2, 3, 10, 10_000):
        drawn = rng.random(kinds)[rng.integers(0, kinds, known)]
        for values in (drawn, np.sort(drawn), np.sort(drawn)[::-1].copy()):
            behind = np.append(values, [-1.0, 9.0])  # what stands behind the known values does not count
            assert median(behind, known) == np.median(values)


def test_the_median_of_equal_values_is_fast():
    """A pass for each value would take minutes."""
    assert median(np.full(1_000_000, 0.5), 1_000_000) == 0.5


def test_noise_agrees_with_the_naive_implementation():
    rng = np.random.default_rng(2)
    xyz = (people(rng, bodies=2) + rng.normal(0, 0.01, (2, 80, 25, 3))).astype(np.float32)
    xyz[rng.random(xyz.shape[:3]) < 0.1] = np.nan
    xyz[0, :, 3] = np.nan
    expected = [[naive_noise(body[:, v]) for v in range(25)] for body in xyz]
    np.testing.assert_allclose(joint_noise(xyz), expected, rtol=2e-5)
    assert joint_noise(xyz)[0, 3] == 0
    assert not joint_noise(xyz[:, :4]).any()
