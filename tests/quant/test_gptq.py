import itertools
from dataclasses import replace

import pytest
import torch

from fgq.errors import FgqError
from fgq.quant import Grid
from fgq.quant.gptq import DAMPING, round_by_hessian
from fgq.quant.grid import decode


def problem(out=5, width=7, samples=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, generator=generator)  # correlated inputs: there is something to make up for
    x = torch.randn(samples, width, generator=generator) @ mixing
    return torch.randn(out, width, generator=generator), x.T @ x


def one_column_after_the_other(weight, hessian, grid):
    """The definition: after rounding a column, the best move of the free ones, by a fresh inverse each time."""
    size = grid.group or weight.shape[1]
    whole, scales, zeros = replace(grid, group=None), [], []
    for start in range(0, weight.shape[1], size):
        found, zero = whole.find_scale(*whole.find_range(weight[:, start : start + size]))
        scales.append(found.double())
        zeros.append(torch.zeros_like(found).double() if zero is None else zero.double())
    damped = hessian.double() + DAMPING * hessian.diagonal().double().mean() * torch.eye(len(hessian))
    left, rounded = weight.double().clone(), weight.double().clone()
    for j in range(weight.shape[1]):
        scale, zero = scales[j // size], zeros[j // size]
        code = ((left[:, j : j + 1] / scale).round() + zero).clamp(grid.lowest, grid.highest)
        rounded[:, j : j + 1] = (code - zero) * scale
        inverse = torch.linalg.inv(damped[j:, j:])
        left[:, j:] -= ((left[:, j] - rounded[:, j]) / inverse[0, 0])[:, None] * inverse[0]
    return rounded


@pytest.mark.parametrize("group", [None, 2, 4])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_it_is_the_column_by_column_definition(bits, symmetric, group):
    weight, hessian = problem(width=7 if group is None else 8)
    grid = Grid(bits, symmetric, group=group)
    codes, scale, zero = round_by_hessian(weight, hessian, grid)
    assert codes.dtype == torch.int8
    expected = one_column_after_the_other(weight, hessian, grid)
    torch.testing.assert_close(decode(codes, scale, zero).double(), expected, rtol=1e-5, atol=1e-6)


def error(weight, rounded, hessian):
    difference = (weight - rounded).double()
    return torch.einsum("oi,ij,oj->", difference, hessian.double(), difference).item()


@pytest.mark.parametrize("seed", range(5))
def test_outputs_are_nearer_than_those_of_the_nearest_weights(seed):
    weight, hessian = problem(out=32, width=24, seed=seed)
    grid = Grid(3)
    gptq, nearest = decode(*round_by_hessian(weight, hessian, grid)), grid.fake_quantize(weight)
    assert error(weight, gptq, hessian) < 0.8 * error(weight, nearest, hessian)


def test_it_comes_near_the_best_of_all_roundings():
    weight, hessian = problem(out=1, width=5, seed=3)
    grid = Grid(3)
    scale, _ = grid.find_scale(*grid.find_range(weight))
    floors = (weight / scale).floor()
    every = [
        ((floors + torch.tensor(up)).clamp(grid.lowest, grid.highest) * scale)
        for up in itertools.product((0.0, 1.0), repeat=5)
    ]
    best = min(error(weight, rounded, hessian) for rounded in every)
    found = error(weight, decode(*round_by_hessian(weight, hessian, grid)), hessian)
    nearest = error(weight, grid.fake_quantize(weight), hessian)
    assert found <= nearest and found < best + 0.5 * (nearest - best) + 1e-9


def test_without_correlations_it_rounds_to_nearest():
    weight, _ = problem()
    codes, scale, zero = round_by_hessian(weight, 3 * torch.eye(7), Grid(4))
    assert torch.equal(decode(codes, scale, zero), Grid(4).fake_quantize(weight))


def test_a_silent_channel_is_rounded_as_it_is():
    weight, hessian = problem()
    hessian[2, :] = hessian[:, 2] = 0
    codes, scale, _ = round_by_hessian(weight, hessian, Grid(4))
    assert torch.equal(codes[:, 2], Grid(4).encode(weight)[0][:, 2])


@pytest.mark.parametrize("bad", [torch.zeros(7, 7), torch.full((7, 7), torch.nan)])
def test_inputs_that_say_nothing_are_refused(bad):
    with pytest.raises(FgqError, match="finite and not all zero"):
        round_by_hessian(problem()[0], bad, Grid(4))


def drifting(out=5, width=7, samples=60, seed=0):
    """Inputs of today, and those of the full-precision model, from which they have drifted."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, generator=generator)
    exact = torch.randn(samples, width, generator=generator).double() @ mixing.double()
    turned = torch.eye(width) + 0.3 * torch.randn(width, width, generator=generator)
    return torch.randn(out, width, generator=generator), exact, exact @ turned.double()


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_a_column_also_makes_up_for_its_drift(monkeypatch, share):
    """The definition: what column j lacks, w_j (x̃_j - x_j), is fitted by the columns behind it, each time anew."""
    monkeypatch.setattr("fgq.quant.gptq.DRIFT_SHARE", share)
    weight, exact, x = drifting()
    grid, hessian, drift = Grid(4), x.T @ x, (exact - x).T @ x
    codes, scale, zero = round_by_hessian(weight, hessian, grid, drift=drift)
    step = grid.find_scales(weight)[0].double()
    damped = hessian + DAMPING * hessian.diagonal().mean() * torch.eye(len(hessian))
    left, rounded = weight.double().clone(), torch.empty_like(weight).double()
    for j in range(weight.shape[1]):
        value = left[:, j].clone()
        rounded[:, j] = (value / step[:, 0]).round().clamp(grid.lowest, grid.highest) * step[:, 0]
        free, error = slice(j + 1, None), value - rounded[:, j]
        fit = torch.linalg.solve(damped[free, free], damped[free, j])
        lacking = torch.linalg.solve(damped[free, free], drift[j, free])
        left[:, free] += error[:, None] * fit + share * value[:, None] * lacking
    torch.testing.assert_close(decode(codes, scale, zero).double(), rounded, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_with_the_drift_outputs_are_nearer_to_the_exact_ones(seed):
    weight, exact, x = drifting(out=32, width=24, samples=200, seed=seed)
    grid, hessian = Grid(8), x.T @ x

    def missed(drift):
        rounded = decode(*round_by_hessian(weight, hessian, grid, drift=drift)).double()
        return (x @ rounded.T - exact @ weight.double().T).square().mean().item()

    assert missed((exact - x).T @ x) < 0.9 * missed(None)
