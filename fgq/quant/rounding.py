"""Rounding that a gradient can pass."""

import torch
from torch import Tensor


class RoundToGrid(torch.autograd.Function):
    """scale * (clamp(round(x / scale) + zero) - zero) with the straight-through gradient, in one node.

    Inside the grid d/dx = 1 and d/dscale = (code - zero) - x / scale; outside d/dx = 0 and d/dscale = code - zero.
    One node instead of a chain of elementwise ones keeps two tensors for the backward pass instead of five.
    """

    @staticmethod
    def forward(ctx, x: Tensor, scale: Tensor, zero: Tensor | None, lowest: int, highest: int) -> Tensor:
        ratio = x / scale
        rounded = ratio.round()
        if zero is None:
            kept = rounded.clamp(lowest, highest)
        else:
            kept = torch.clamp(rounded, lowest - zero, highest - zero)
        if ctx.needs_input_grad[0] or ctx.needs_input_grad[1]:
            inside = (rounded == kept).to(x.dtype)
            ctx.save_for_backward(inside, torch.addcmul(kept, ratio, inside, value=-1))
            ctx.shape, ctx.scale_shape = x.shape, scale.shape
        return kept.mul_(scale).to(x.dtype)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        inside, slope = ctx.saved_tensors
        of_x = of_scale = None
        if ctx.needs_input_grad[0]:
            of_x = (gradient * inside).sum_to_size(ctx.shape)
        if ctx.needs_input_grad[1]:
            of_scale = (gradient * slope).sum_to_size(ctx.scale_shape)
        return of_x, of_scale, None, None, None
