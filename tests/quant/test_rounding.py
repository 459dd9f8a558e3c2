import pytest
import torch

from fgq.quant import Grid
from fgq.quant.rounding import ClampToRange, Extremes


def values(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64, requires_grad=True)


def straight_through(x):
    return x + (x.round() - x).detach()


def slow_fake_quantize(x, low, high, bits, symmetric):
    """The same rounding as a chain of elementary operations that autograd follows."""
    if symmetric:
        top = 2 ** (bits - 1) - 1
        scale = torch.maximum(low.abs(), high) / top
        return scale * straight_through(x / scale).clamp(-top - 1, top)
    top = 2**bits - 1
    scale = (high - low) / top
    zero = torch.round(-low / scale).detach()
    return scale * ((straight_through(x / scale) + zero).clamp(0, top) - zero)


@pytest.mark.parametrize("clips", [1, 3])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_values_and_gradients_agree_with_elementary_operations(bits, symmetric, clips):
    x, factors = values(6, 20), torch.linspace(0.6, 0.9, clips, dtype=torch.float64).requires_grad_()
    outward = values(clips, 6, 20, seed=1).detach()
    grid, gradients, outputs = Grid(bits, symmetric, per="token"), [], []
    for fast in (True, False):
        low, high = grid.find_range(x) if fast else (x.amin(-1, keepdim=True), x.amax(-1, keepdim=True))
        low, high = low * factors[:, None, None], high * factors[:, None, None]
        y = grid.fake_quantize(x, low, high) if fast else slow_fake_quantize(x, low, high, bits, symmetric)
        outputs.append(y)
        gradients.append(torch.autograd.grad(y, (x, factors), outward))
    assert torch.allclose(*outputs, atol=1e-12)
    for ours, theirs in zip(*gradients, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-10)


def test_extremes_share_the_gradient_of_ties_as_torch_does():
    x = torch.tensor([[1.0, 3.0, 3.0, -2.0], [0.0, 0.0, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    outward = torch.tensor([[2.0], [5.0]], dtype=torch.float64), torch.tensor([[7.0], [11.0]], dtype=torch.float64)
    ours = torch.autograd.grad(Extremes.apply(x), x, outward)[0]
    theirs = torch.autograd.grad((x.amin(-1, keepdim=True), x.amax(-1, keepdim=True)), x, outward)[0]
    assert torch.equal(ours, theirs)


def test_clamping_sends_gradients_where_torch_does():
    x, low, high = values(5, 30), -values(5, 1, seed=1).detach().abs(), values(5, 1, seed=2).detach().abs()
    bounds = low.requires_grad_(), high.requires_grad_()
    outward = values(5, 30, seed=3).detach()
    ours = torch.autograd.grad(ClampToRange.apply(x, *bounds), (x, *bounds), outward)
    theirs = torch.autograd.grad(torch.clamp(x, *bounds), (x, *bounds), outward)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, atol=1e-12)


@pytest.mark.parametrize("symmetric", [True, False])
def test_gradients_through_groups_are_those_of_each_group_alone(symmetric):
    x, factors = values(6, 20), torch.tensor([0.6, 0.8, 0.9], dtype=torch.float64).requires_grad_()
    outward, gradients = values(3, 6, 20, seed=1).detach(), []
    grouped, whole = Grid(3, symmetric, "token", group=5), Grid(3, symmetric, "token")

    def clipped(grid, part):
        low, high = (side * factors.view(3, *(1 for _ in side.shape)) for side in grid.find_range(part))
        return grid.fake_quantize(part, low, high)

    for y in (clipped(grouped, x), torch.cat([clipped(whole, part) for part in x.split(5, dim=1)], dim=-1)):
        gradients.append(torch.autograd.grad(y, (x, factors), outward))
    for ours, theirs in zip(*gradients, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-12)
