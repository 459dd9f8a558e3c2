"""Symmetric fake quantization as one node: range, clip, scale and rounding, with its gradient written by hand.

A chain of nodes for the extremes, the clip and the scale spends more time on starting small operations than on
computing, and it keeps their results. This node computes the same values, in the same order.
"""

import torch
from torch import Tensor

from fgq.quant.rounding import add_at_bound

LOW, HIGH = 0, 1


class RoundSymmetrically(torch.autograd.Function):
    """clamp(round(x / scale)) * scale with scale = largest clipped magnitude along the last axis / highest code.

    `factors` [clips, 2] shrink both ends of the range, 0 included, and put an axis of clips in front of the result;
    None leaves the range as it is. An extent is at least `smallest`; where that is 0, an extent of 0 has scale 1.
    Straight-through: inside the grid d/dx = 1 and d/dscale = code - x / scale; outside d/dx = 0 and d/dscale = code.
    """

    @staticmethod
    def forward(ctx, x: Tensor, factors: Tensor | None, highest: int, smallest: float) -> Tensor:
        low = x.amin(-1, keepdim=True).clamp_(max=0)
        high = x.amax(-1, keepdim=True).clamp_(min=0)
        table = None
        if factors is None:
            below, above = -low, high
        else:
            table = factors.view(-1, 2, *(1 for _ in x.shape))
            below, above = low * -table[:, LOW], high * table[:, HIGH]
        extent = torch.maximum(below, above)
        scale = extent.clamp(min=smallest) / highest
        if smallest == 0:
            scale = torch.where(extent == 0, 1.0, scale)
        # In place where that is safe: tensors of this size fall out of a core's cache, and fresh memory costs most.
        slope = x / scale  # so far the ratio
        kept = slope.round()
        learns = any(ctx.needs_input_grad)
        inside = None
        if factors is not None:  # otherwise no magnitude is larger than the extent
            inside, kept = kept, kept.clamp(-highest - 1, highest)
            if learns:
                torch.eq(inside, kept, out=inside)
                slope.mul_(inside)
        if learns:
            torch.sub(kept, slope, out=slope)
            ctx.save_for_backward(x, table, low, high, below, above, slope, inside)
            ctx.factors_shape, ctx.highest, ctx.smallest = None if factors is None else factors.shape, highest, smallest
        return kept.mul_(scale).to(x.dtype)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        x, table, low, high, below, above, slope, inside = ctx.saved_tensors
        extent = torch.maximum(below, above)
        learns = extent > 0 if ctx.smallest == 0 else extent >= ctx.smallest
        of_extent = (slope.mul(gradient).sum(-1, keepdim=True) / ctx.highest).mul_(learns)
        at_low = below > above  # where both ends reach as far, the gradient goes to the upper one
        of_below, of_above = of_extent * at_low, of_extent * ~at_low
        of_x = of_factors = None
        if ctx.needs_input_grad[1]:
            ends = torch.stack([(of_below * low).flatten(1).sum(1).neg_(), (of_above * high).flatten(1).sum(1)], 1)
            of_factors = ends.view(ctx.factors_shape)
        if ctx.needs_input_grad[0]:
            of_low, of_high = -of_below, of_above
            if table is None:
                of_x = gradient.clone()
            else:
                of_x = gradient * inside
                of_x = of_x.squeeze(0) if len(table) == 1 else of_x.sum(0)
                of_low, of_high = (of_low * table[:, LOW]).sum(0), (of_high * table[:, HIGH]).sum(0)
            if at_low.shape == low.shape or len(at_low) == 1:
                side = at_low.view(low.shape)
                add_at_bound(of_x, x, torch.where(side, low, high), of_low + of_high)
            else:
                add_at_bound(of_x, x, low, of_low)
                add_at_bound(of_x, x, high, of_high)
        return of_x, of_factors, None, None
