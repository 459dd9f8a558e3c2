"""Learnable clipping: a range is shrunk by sigmoid factors before its scale is found (FlatQuant, arXiv:2410.09426)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fgq.quant.rounding import ClipRows

START_LOGIT = 4.0  # sigmoid(4) = 0.982: almost the whole range to begin with
LOW, HIGH = 0, 1  # columns of every table of factors


class LearnableClip(nn.Module):
    """One pair of factors (low, high) a row: rows are ranges of a weight (output channels or their groups) or
    activation quantizers.
    """

    def __init__(self, rows: int):
        super().__init__()
        self.logits = nn.Parameter(torch.full((rows, 2), START_LOGIT))

    def factors(self) -> Float[Tensor, "rows 2"]:
        return self.logits.sigmoid()

    def freeze(self) -> "FixedClip":
        return FixedClip(self.factors().detach().clone())


class FixedClip(nn.Module):
    """Factors in (0, 1] that no longer learn; ones leave a range as it is."""

    def __init__(self, table: Float[Tensor, "rows 2"]):
        super().__init__()
        self.register_buffer("table", table)

    @classmethod
    def whole(cls, rows: int) -> "FixedClip":
        return cls(torch.ones(rows, 2))

    def factors(self) -> Float[Tensor, "rows 2"]:
        return self.table

    def freeze(self) -> "FixedClip":
        return FixedClip(self.table.clone())


Clip = LearnableClip | FixedClip


def clip_weight(weight: Float[Tensor, "out width"], factors: Float[Tensor, "out 2"]) -> Float[Tensor, "out width"]:
    """Limits each output channel to its shrunken range. Unlike a grid's range this one need not hold 0."""
    return ClipRows.apply(weight, factors)


def clip_range(
    low: Float[Tensor, "*rows 1"], high: Float[Tensor, "*rows 1"], factors: Float[Tensor, "clips 2"]
) -> tuple[Float[Tensor, "clips *rows 1"], Float[Tensor, "clips *rows 1"]]:
    """The range of every token under each pair of factors."""
    factors = factors.view(-1, 2, *(1 for _ in low.shape))
    return low * factors[:, LOW], high * factors[:, HIGH]


def make_clip(rows: int, learns: bool) -> LearnableClip | FixedClip:
    """As many clips, which start near the whole range where they learn, and are the whole range where they do not."""
    return LearnableClip(rows) if learns else FixedClip.whole(rows)
