"""Rounding that knows the inputs: each column's error is made up for by the columns that are still free (GPTQ).

Source: arXiv:2210.17323, with columns in their given order. A layer's output error is tr(ΔW H ΔWᵀ) with H = Σ x xᵀ, so
rows are independent of each other and share H. GPTAQ (arXiv:2504.02692) also takes into account that the layer's inputs
x are no longer those of the full-precision model, x̃: with the drift Σ (x̃ - x) xᵀ a column passes on what it would need.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from fgq.errors import FgqError
from fgq.quant.grid import Grid, over_columns

DAMPING = 0.01  # of the mean of H's diagonal, added to it, as in the paper
DRIFT_SHARE = 0.25  # of what would make up for a column's drift, the share that is passed on: as in GPTAQ's release


def round_by_hessian(
    weight: Float[Tensor, "out width"],
    hessian: Float[Tensor, "width width"],
    grid: Grid,
    damping: float = DAMPING,
    drift: Float[Tensor, "width width"] | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Codes, scale and zero point, as `Grid.encode` gives them; the scales are those of the weight beforehand.

    `hessian` is Σ x xᵀ over the layer's inputs; with `drift`, Σ (x̃ - x) xᵀ, it is GPTAQ's rounding. Raises FgqError
    when the Hessian is not finite or all zero.
    """
    check_inputs(hessian)
    scale, zero, step, shift = find_steps(weight, grid)
    factor = free_column_factors(hessian.double(), damping)
    # Row j: what the free columns behind j would add for the drift of column j, drift_j,F (H_FF)^-1 by the factor.
    moves = None if drift is None else DRIFT_SHARE * (drift.double() @ factor.T).triu(1) @ factor
    wanted = weight.detach().double().clone()  # what each weight should be, given the columns already rounded
    codes = torch.empty_like(wanted)
    for j in range(wanted.shape[1]):
        codes[:, j] = ((wanted[:, j] / step[:, j]).round() + shift[:, j]).clamp(grid.lowest, grid.highest)
        error = (wanted[:, j] - (codes[:, j] - shift[:, j]) * step[:, j]) / factor[j, j]
        wanted[:, j + 1 :] -= error[:, None] * factor[j, j + 1 :]
        if moves is not None:
            wanted[:, j + 1 :] += wanted[:, j, None] * moves[j, j + 1 :]
    return as_stored(codes, scale, zero, grid)


def check_inputs(hessian: Float[Tensor, "width width"]) -> None:
    if not torch.isfinite(hessian).all() or not hessian.any():
        raise FgqError("GPTQ needs inputs that are finite and not all zero: check the calibration clips")


def find_steps(weight: Float[Tensor, "out width"], grid: Grid) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
    """Scale and zero point of the weight, and both of every element, float64."""
    scale, zero = grid.find_scales(weight)
    step = over_columns(scale.double(), weight).expand_as(weight)
    shift = torch.zeros_like(step) if zero is None else over_columns(zero.double(), weight).expand_as(weight)
    return scale, zero, step, shift


def as_stored(codes: Tensor, scale: Tensor, zero: Tensor | None, grid: Grid) -> tuple[Tensor, Tensor, Tensor | None]:
    """Codes and zero point in int8, as `Grid.encode` gives them."""
    if zero is not None:
        zero = (zero - grid.storage_offset).to(torch.int8)
    return (codes - grid.storage_offset).to(torch.int8), scale, zero


def free_column_factors(hessian: Float[Tensor, "width width"], damping: float) -> Float[Tensor, "width width"]:
    """Upper Cholesky factor R of H^-1 = Rᵀ R: row j holds, up to 1/R_jj, the inverse over columns j, j + 1, …"""
    diagonal = hessian.diagonal()
    ridge = damping * diagonal.mean()
    # A channel that is always zero has no say: its weight is rounded as it is.
    damped = hessian + torch.diag(torch.where(diagonal == 0, diagonal.mean(), ridge))
    return torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(damped)), upper=True)
