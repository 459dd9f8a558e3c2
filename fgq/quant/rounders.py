"""Ways to give a layer's weight its codes, as values: a block is fixed with one for each of its layers."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fgq.quant.gptq import as_stored, find_steps, round_by_hessian
from fgq.quant.grid import Grid
from fgq.quant.output_matrix import OutputMatrix
from fgq.quant.two_sided import round_by_factors

Codes = tuple[Tensor, Tensor, Tensor | None]  # with scale and zero point, as `Grid.encode` gives them
Rounder = Callable[[Float[Tensor, "out width"], Grid], Codes]


def to_nearest(weight: Float[Tensor, "out width"], grid: Grid) -> Codes:
    return grid.encode(weight)


@dataclass(frozen=True)
class ByInputs:
    """GPTQ, with Σ x xᵀ of the input: one for each of as many equal shares of the rows, and GPTAQ's drifts likewise."""

    hessians: Float[Tensor, "shares width width"]
    drifts: Float[Tensor, "shares width width"] | None = None

    def __call__(self, weight: Float[Tensor, "out width"], grid: Grid) -> Codes:
        drifts = [None] * len(self.hessians) if self.drifts is None else self.drifts
        parts = zip(weight.chunk(len(self.hessians)), self.hessians, drifts, strict=True)
        found = (round_by_hessian(part, hessian, grid, drift=drift) for part, hessian, drift in parts)
        codes, scales, zeros = zip(*found, strict=True)
        return torch.cat(codes), torch.cat(scales), None if grid.symmetric else torch.cat(zeros)


@dataclass(frozen=True)
class TwoSided:
    """Two-sided rounding, with H_O of the layer's output beside the `column_factors` of the same Σ x xᵀ."""

    columns: Float[Tensor, "clips width width"]
    output_fisher: OutputMatrix
    damping: float

    def __call__(self, weight: Float[Tensor, "out width"], grid: Grid) -> Codes:
        return round_by_factors(weight, self.columns, self.output_fisher, grid, self.damping)


@dataclass(frozen=True)
class UpOrDown:
    """Of the two codes around each weight the upper one, where it is said to."""

    up: Bool[Tensor, "out width"]

    def __call__(self, weight: Float[Tensor, "out width"], grid: Grid) -> Codes:
        scale, zero, step, shift = find_steps(weight, grid)
        codes = (weight.detach().double() / step).floor() + shift + self.up
        return as_stored(codes.clamp(grid.lowest, grid.highest), scale, zero, grid)
