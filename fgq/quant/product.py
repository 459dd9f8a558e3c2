"""The product of a learnable layer, whose weight's gradient comes out in the weight's own layout."""

import torch
from torch import Tensor


class MultiplyParts(torch.autograd.Function):
    """x [clips, rows, width], weight [clips, part, width], bias [clips, 1, part] to [clips, rows, part].

    torch's own nodes hand back the transpose of a contiguous gradient, through which every operation on the weight's
    way back then has to stride: on a CPU that takes longer than the product.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.dtypes = x.dtype, weight.dtype, bias.dtype
        device = x.device.type
        if torch.is_autocast_enabled(device):  # once, so that the way back keeps and casts nothing larger
            x, weight, bias = (value.to(torch.get_autocast_dtype(device)) for value in (x, weight, bias))
        ctx.save_for_backward(x, weight)
        return torch.baddbmm(bias, x, weight.transpose(1, 2))

    @staticmethod
    def backward(ctx, gradient: Tensor):
        x, weight = ctx.saved_tensors
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = torch.bmm(gradient, weight).to(ctx.dtypes[0])
        if ctx.needs_input_grad[1]:
            of_weight = torch.bmm(gradient.transpose(1, 2), x).to(ctx.dtypes[1])
        if ctx.needs_input_grad[2]:
            of_bias = gradient.sum(1, keepdim=True).to(ctx.dtypes[2])
        return of_x, of_weight, of_bias
