"""The three steps of fake quantization with gradients written by hand: extremes, clamping, rounding.

Each is one node with floating-point masks. On a CPU a comparison into a float tensor is about four times as fast as
one into a boolean tensor that is then multiplied, and a chain of elementwise nodes would keep every temporary alive.
"""

import torch
from torch import Tensor


def compare(test, x: Tensor, y: Tensor) -> Tensor:
    """1 where `test` (such as torch.eq) holds and 0 elsewhere, in shape and dtype of `x`."""
    return test(x, y, out=torch.empty_like(x))


def add_at_bound(of_x: Tensor, x: Tensor, bound: Tensor, of_bound: Tensor) -> None:
    """Adds, in place, the gradient of a bound where `x` equals it along the last axis; ties share evenly.

    A bound that no value equals, such as a 0 that was put into the range, has nowhere to send its gradient.
    """
    at_bound = compare(torch.eq, x, bound)
    of_x.addcmul_(at_bound, of_bound / at_bound.sum(-1, keepdim=True).clamp_(min=1))


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
        of_x = torch.zeros_like(x)
        add_at_bound(of_x, x, low, of_low)
        add_at_bound(of_x, x, high, of_high)
        return of_x


class ClipRows(torch.autograd.Function):
    """Limits rows [rows, width] to their extremes times factors [rows, 2]: `Extremes` and `ClampToRange` in one."""

    @staticmethod
    def forward(ctx, x: Tensor, factors: Tensor) -> Tensor:
        low, high = x.amin(-1, keepdim=True), x.amax(-1, keepdim=True)
        ctx.save_for_backward(x, factors, low, high)
        return torch.clamp(x, low * factors[:, :1], high * factors[:, 1:])

    @staticmethod
    def backward(ctx, gradient: Tensor):
        x, factors, low, high = ctx.saved_tensors
        to_low = compare(torch.lt, x, low * factors[:, :1]).mul_(gradient)
        to_high = compare(torch.gt, x, high * factors[:, 1:]).mul_(gradient)
        of_low, of_high = to_low.sum(-1, keepdim=True), to_high.sum(-1, keepdim=True)
        of_x = of_factors = None
        if ctx.needs_input_grad[0]:
            of_x = gradient - to_low.add_(to_high)
            add_at_bound(of_x, x, low, of_low * factors[:, :1])
            add_at_bound(of_x, x, high, of_high * factors[:, 1:])
        if ctx.needs_input_grad[1]:
            of_factors = torch.cat([of_low * low, of_high * high], dim=1)
        return of_x, of_factors


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
