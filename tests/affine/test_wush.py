"""The closed-form start against what it must be the best of."""

import pytest
import torch

from fgq.affine import wush
from fgq.affine.hadamard import flat_orthogonal
from fgq.affine.wush import balanced, balanced_kronecker, wush_factors


def moments(width, seed=0, channels_apart=1.0):
    """Of correlated inputs whose channels differ in size, and of weights that are correlated otherwise."""
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.logspace(-channels_apart, channels_apart, width)
    x = torch.randn(300, width, generator=generator) @ torch.randn(width, width, generator=generator) * sizes
    w = torch.randn(2 * width, width, generator=generator) @ torch.randn(width, width, generator=generator)
    return (x.T @ x).double(), (w.T @ w).double()


def both(p, inputs, weights):
    """What x P and w P^-T have for second moments."""
    inverse = torch.linalg.inv(p)
    return p.T @ inputs @ p, inverse @ weights @ inverse.T


def product(p, inputs, weights):
    return torch.stack([moment.trace() for moment in both(p, inputs, weights)]).prod().item()


@pytest.mark.parametrize("seed", range(3))
def test_moments_are_equal_and_no_product_of_traces_is_smaller(seed):
    inputs, weights = moments(6, seed)
    p = balanced(inputs, weights)
    mine, theirs = both(p, inputs, weights)
    torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-6 * mine.trace().item())
    roots = [torch.linalg.cholesky(moment) for moment in (inputs, weights)]
    bound = torch.linalg.matrix_norm(roots[1].T @ roots[0], "nuc").item() ** 2  # Cauchy and Schwarz
    assert product(p, inputs, weights) == pytest.approx(bound, rel=1e-9)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(50):
        other = p + 0.1 * p.norm() * torch.randn(6, 6, generator=generator).double()
        assert product(other, inputs, weights) >= bound


@pytest.mark.parametrize("sizes", [(2, 4), (3, 5)])
def test_neither_factor_can_be_bettered(sizes, monkeypatch):
    monkeypatch.setattr(wush, "RIDGE", 0.0)
    inputs, weights = moments(sizes[0] * sizes[1], seed=4)
    factors = balanced_kronecker(inputs, weights, *sizes)
    least = product(torch.kron(*factors), inputs, weights)
    assert least < product(torch.eye(len(inputs)).double(), inputs, weights)
    generator = torch.Generator().manual_seed(0)
    for _ in range(100):
        for side in (0, 1):
            moved = list(factors)
            moved[side] = moved[side] + 0.03 * torch.randn(moved[side].shape, generator=generator).double()
            assert product(torch.kron(*moved), inputs, weights) >= least * (1 - 1e-6)


def test_moments_that_are_products_themselves_are_balanced_as_well_as_without_the_constraint(monkeypatch):
    monkeypatch.setattr(wush, "RIDGE", 0.0)
    pairs = [torch.kron(a, b) for a, b in zip(moments(3, 1), moments(4, 2), strict=True)]
    found = product(torch.kron(*balanced_kronecker(*pairs, 3, 4)), *pairs)
    assert found == pytest.approx(product(balanced(*pairs), *pairs), rel=1e-9)


def test_rotations_behind_share_the_moments_out_among_the_channels():
    inputs, weights = moments(16, seed=3, channels_apart=2.0)
    left, right = wush_factors(inputs, weights, 4, 4, torch.Generator().manual_seed(0))
    plain = torch.kron(*balanced_kronecker(inputs, weights, 4, 4))
    spread, before = both(torch.kron(left, right), inputs, weights)[0], both(plain, inputs, weights)[0]
    assert spread.trace().item() == pytest.approx(before.trace().item())
    assert spread.diagonal().max() / spread.diagonal().min() < 0.3 * before.diagonal().max() / before.diagonal().min()
    for factor, of_plain in zip((left, right), balanced_kronecker(inputs, weights, 4, 4), strict=True):
        turn = torch.linalg.solve(of_plain, factor)
        torch.testing.assert_close(turn.abs(), flat_orthogonal(4).abs(), rtol=1e-5, atol=1e-5)


def test_channels_that_are_never_seen_leave_it_finite():
    inputs, weights = moments(8)
    inputs[:, 3], inputs[3] = 0, 0
    for found in (wush_factors(inputs, weights, 2, 4), wush_factors(torch.zeros(8, 8), weights, 2, 4)):
        assert all(torch.isfinite(factor).all() for factor in found)
