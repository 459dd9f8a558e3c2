import math

import numpy as np
import pytest
import scipy.stats
import torch

from fgq.quant.flatness import channel_magnitude, crest, decibels, expected_decibels, kurtosis, outlier_ratio
from fgq.quant.grid import Grid


@pytest.fixture
def values() -> torch.Tensor:
    return torch.randn(4, 50, 12, generator=torch.Generator().manual_seed(0)) + 0.3


def test_kurtosis_is_scipys(values):
    cubed = values.double() ** 3
    assert kurtosis(cubed) == pytest.approx(scipy.stats.kurtosis(cubed.numpy(), axis=None, fisher=False))


def test_kurtosis_of_known_distributions():
    generator = torch.Generator().manual_seed(0)
    assert kurtosis(torch.randn(300, 1000, generator=generator)) == pytest.approx(3, abs=0.03)
    assert kurtosis(torch.rand(300, 1000, generator=generator)) == pytest.approx(1.8, abs=0.01)
    assert kurtosis(torch.tensor([[-1.0, 1.0]])) == 1
    assert math.isnan(kurtosis(torch.ones(2, 3)))


def test_a_channels_magnitude_and_the_largest_over_the_median(values):
    values[2, 7, 5] = -90
    by_hand = np.abs(values.numpy()).reshape(-1, 12).max(0)
    np.testing.assert_array_equal(channel_magnitude(values).numpy(), by_hand)
    assert outlier_ratio(values) == pytest.approx(90 / np.sort(by_hand)[5])


def test_the_crest_of_flat_and_of_lonely_values():
    torch.testing.assert_close(crest(torch.tensor([[2.0, -2, 2, -2], [0, 0, -7, 0]])), torch.tensor([1.0, 2.0]))


@pytest.mark.parametrize("bits", (4, 6, 8))
def test_expected_decibels_are_what_rounding_of_many_values_gives(bits):
    # Uniform values fill every step evenly, which is what the formula assumes.
    x = torch.rand(1, 200_000, generator=torch.Generator().manual_seed(bits)) * 2 - 1
    measured = decibels(x, Grid(bits, per="token").fake_quantize(x))
    assert float(expected_decibels(crest(x), bits)[0]) == pytest.approx(measured, abs=0.3)


def test_twice_the_crest_costs_six_decibels_as_one_bit_less_does():
    ratio = expected_decibels(torch.tensor([2.0, 4.0]), 8)
    assert float(ratio[0] - ratio[1]) == pytest.approx(20 * math.log10(2), abs=1e-4)
    fewer = float(expected_decibels(torch.tensor([2.0]), 7))
    assert float(ratio[0]) - fewer == pytest.approx(20 * math.log10(127 / 63), abs=1e-4)


def test_nothing_rounded_has_no_noise(values):
    assert decibels(values, values) == math.inf
    assert decibels(values, 1.1 * values) == pytest.approx(20, abs=1e-4)
