import pytest
import torch

from fgq.quant import FixedClip, Grid, LearnableClip, clip_weight, quantize_tokens
from fgq.quant.grid import SMALLEST_WEIGHT_RANGE


def values(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64, requires_grad=True)


def by_elementary_operations(x, factors, bits, smallest):
    """A chain of nodes whose gradient autograd finds."""
    top = 2 ** (bits - 1) - 1
    low, high = x.amin(-1, keepdim=True).clamp(max=0), x.amax(-1, keepdim=True).clamp(min=0)
    if factors is not None:
        low, high = (end * factors[:, side].view(-1, 1, 1, 1) for side, end in ((0, low), (1, high)))
    extent = torch.maximum(-low, high).clamp(min=smallest)
    scale = torch.where(extent == 0, 1.0, extent / top)
    ratio = x / scale
    return scale * (ratio + (ratio.round() - ratio).detach()).clamp(-top - 1, top)


@pytest.mark.parametrize("clips", [1, 3])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_tokens_and_their_gradients_agree_with_elementary_operations(bits, clips):
    x, clip = values(2, 5, 20), LearnableClip(clips).double()
    with torch.no_grad():
        clip.logits.copy_(values(clips, 2, seed=1).abs())
        x[0, 0], x[0, 1], x[0, 2] = 0, x[0, 1].abs() + 1, -x[0, 2].abs() - 1  # ranges that 0 is put into
    factors, outward = clip.factors(), values(clips, 2, 5, 20, seed=2).detach()
    ours = quantize_tokens(x, Grid(bits, per="token"), clip)
    theirs = by_elementary_operations(x, factors, bits, 0.0)
    assert torch.allclose(ours, theirs, atol=1e-12) and not torch.allclose(ours, x.expand_as(ours), atol=1e-4)
    for a, b in zip(*(torch.autograd.grad(y, (x, clip.logits), outward) for y in (ours, theirs)), strict=True):
        assert b.abs().max() > 0 and torch.allclose(a, b, atol=1e-10)


def test_clipped_weights_whose_extremes_tie_agree_with_elementary_operations():
    weight, factors = values(6, 30), torch.linspace(0.3, 0.9, 12, dtype=torch.float64).view(6, 2).requires_grad_()
    outward = values(6, 30, seed=1).detach()
    low, high = (end * factors[:, side, None] for side, end in ((0, weight.amin(1, True)), (1, weight.amax(1, True))))
    ours = Grid(4).fake_quantize(clip_weight(weight, factors))
    theirs = by_elementary_operations(torch.clamp(weight, low, high), None, 4, SMALLEST_WEIGHT_RANGE)
    assert torch.allclose(ours, theirs, atol=1e-12)
    for a, b in zip(*(torch.autograd.grad(y, (weight, factors), outward) for y in (ours, theirs)), strict=True):
        assert b.abs().max() > 0 and torch.allclose(a, b, atol=1e-10)


def test_a_row_below_the_smallest_range_has_no_gradient_through_its_scale():
    weight = (1e-7 * values(3, 8)).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(Grid(4).fake_quantize(weight).sum(), weight)
    assert torch.equal(gradient, torch.ones_like(weight))


def test_a_fixed_clip_needs_no_gradient_and_gives_one_to_its_input():
    x = values(1, 4, 6)
    (gradient,) = torch.autograd.grad(quantize_tokens(x, Grid(8, per="token"), FixedClip.whole(1)).sum(), x)
    assert torch.isfinite(gradient).all() and gradient.abs().max() > 0
