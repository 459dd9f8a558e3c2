import math

import pytest
import torch

from fgq.affine import flat_orthogonal, random_flat_orthogonal
from fgq.affine.hadamard import hartley


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6, 7, 12, 16, 40, 96, 128])
def test_it_is_orthogonal_and_flat_at_any_size(size):
    matrix = flat_orthogonal(size)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(size, dtype=torch.float64), rtol=0, atol=1e-12)
    bound = math.sqrt(2 if size & (size - 1) else 1) / math.sqrt(size)
    assert matrix.abs().max() <= bound + 1e-12


@pytest.mark.parametrize("size", [2, 8, 64])
def test_powers_of_two_are_sylvester_s(size):
    grown = torch.ones(1, 1, dtype=torch.float64)
    while len(grown) < size:
        grown = torch.cat([torch.cat([grown, grown], 1), torch.cat([grown, -grown], 1)])
    torch.testing.assert_close(flat_orthogonal(size), grown / math.sqrt(size))


def test_hartley_is_the_real_less_the_imaginary_part_of_fourier():
    fourier = torch.fft.fft(torch.eye(9, dtype=torch.float64), norm="ortho")
    torch.testing.assert_close(hartley(9), fourier.real - fourier.imag)


def test_signs_turn_rows_about_and_depend_on_the_generator():
    first, second = (random_flat_orthogonal(24, torch.Generator().manual_seed(seed)) for seed in (0, 1))
    again = random_flat_orthogonal(24, torch.Generator().manual_seed(0))
    plain = flat_orthogonal(24).float()
    assert torch.equal(first, again) and not torch.equal(first, second)
    ratio = first / plain
    torch.testing.assert_close(ratio, ratio[:, :1].expand(-1, 24))
    assert set(ratio[:, 0].round().tolist()) == {-1.0, 1.0}


def test_an_outlier_is_spread_evenly():
    x = torch.zeros(1, 64)
    x[0, 17] = 5.0
    spread = x @ random_flat_orthogonal(64, torch.Generator().manual_seed(2))
    torch.testing.assert_close(spread.abs(), torch.full((1, 64), 5 / 8))
