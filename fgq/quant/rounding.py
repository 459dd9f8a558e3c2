"""The three steps of fake quantization with gradients written by hand: extremes, clamping, rounding.

Each is one node with floating-point masks. On a CPU a comparison into a float tensor is about four times as fast as
one into a boolean tensor that is then multiplied, and a chain of elementwise nodes would keep every temporary alive.
"""

import torch
from torch import Tensor


def compare(test, x: Tensor, y: Tensor) -> Tensor:
    """1 where `test` (such as torch.eq) holds and 0 elsewhere, in the dtype of `x`."""
    shape = torch.broadcast_shapes(x.shape, y.shape)
    return test(x, y, out=torch.empty(shape, dtype=x.dtype, device=x.device))


class Extremes(torch.autograd.Function):
    """Lowest and highest value along the last axis; values that tie share the gradient evenly."""

    @staticmethod
    def forward(ctx, x: Tensor) -> tuple[Tensor, Tensor]:
        low, high = x.amin(-1, keepdim=True), x.amax(-1, keepdim=True)
        ctx.save_for_backward(x, low, high)
        return low, high

    @staticmethod
    def backward(ctx, of_low: Tensor, of_high: Tensor):
        x, low, high = ctx.saved_tensors
        at_low, at_high = compare(torch.eq, x, low), compare(torch.eq, x, high)
        of_low = of_low / at_low.sum(-1, keepdim=True)
        of_high = of_high / at_high.sum(-1, keepdim=True)
        return at_low.mul_(of_low).addcmul_(at_high, of_high)


class ClampToRange(torch.autograd.Function):
    """min(max(x, low), high); a clamped value's gradient goes to the bound it was moved to."""

    @staticmethod
    def forward(ctx, x: Tensor, low: Tensor, high: Tensor) -> Tensor:
        ctx.save_for_backward(x, low, high)
        return torch.clamp(x, low, high)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        x, low, high = ctx.saved_tensors
        to_low = compare(torch.lt, x, low).mul_(gradient)
        to_high = compare(torch.gt, x, high).mul_(gradient)
        of_low, of_high = to_low.sum(-1, keepdim=True), to_high.sum(-1, keepdim=True)
        return gradient - to_low.add_(to_high), of_low, of_high


class RoundToGrid(torch.autograd.Function):
    """scale * (clamp(round(x / scale) + zero) - zero) with the straight-through gradient.

    Inside the grid d/dx = 1 and d/dscale = (code - zero) - x / scale; outside d/dx = 0 and d/dscale = code - zero.
    """

    @staticmethod
    def forward(ctx, x: Tensor, scale: Tensor, zero: Tensor | None, lowest: int, highest: int) -> Tensor:
        ratio = x / scale
        rounded = ratio.round()
        if zero is None:
            kept = rounded.clamp(lowest, highest)
        else:
            kept = torch.clamp(rounded, lowest - zero, highest - zero)
        if any(ctx.needs_input_grad):
            inside = compare(torch.eq, rounded, kept)
            ctx.save_for_backward(inside, torch.addcmul(kept, ratio, inside, value=-1))
            ctx.x_shape, ctx.scale_shape = x.shape, scale.shape
        return kept.mul_(scale).to(x.dtype)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        inside, slope = ctx.saved_tensors
        of_x = of_scale = None
        if ctx.needs_input_grad[0]:
            of_x = (gradient * inside).sum_to_size(ctx.x_shape)
        if ctx.needs_input_grad[1]:
            of_scale = slope.mul(gradient).sum_to_size(ctx.scale_shape)
        return of_x, of_scale, None, None, None
