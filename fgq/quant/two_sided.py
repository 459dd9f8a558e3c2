"""Rounding that knows inputs and outputs: GPTQ's feedback along columns, and the same along rows.

The damage that an error E of a layer's weight does is about tr(H_O E H_I Eᵀ), with H_I = Σ x xᵀ over its inputs and
H_O = Σ g gᵀ over the gradients at its outputs (fgq.fisher.output_factors); GPTQ (arXiv:2210.17323) is the case H_O = I.
Feedback on both sides is the idea of YAQA (arXiv:2505.22988). Elements are rounded row by row, and column by column in
a row, each towards the value that is best given the errors of all before it, with all behind it still free.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from fgq.errors import FgqError
from fgq.quant.gptq import DAMPING, as_stored, check_inputs, find_steps, free_column_factors
from fgq.quant.grid import Grid
from fgq.quant.output_matrix import InBlocks, OutputMatrix

OUTPUT_DAMPING = 0.1  # of the mean of H_O's diagonal, added to it
ROWS = 64  # rounded in one wave: few enough to stay in a cache
COLUMNS = 256  # the same


def round_two_sided(
    weight: Float[Tensor, "out width"],
    input_hessian: Float[Tensor, "*parts width width"],
    output_fisher: Float[Tensor, "out out"] | OutputMatrix,
    grid: Grid,
    damping: float = DAMPING,
    output_damping: float = OUTPUT_DAMPING,
    block: int = ROWS,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Codes, scale and zero point, as `round_by_hessian` gives them; the scales are those of the weight beforehand.

    Of several `input_hessian`s each belongs to an equal share of the rows (q, k and v behind clips of their own); what
    one share makes up for in another is then the best as far as their inputs agree. `output_fisher` is H_O or one of
    its thrifty forms; its scale does not matter. `block` rows are rounded together, which decides the time and not the
    result. Raises FgqError for matrices that are not finite, all zero, or not positive definite with their damping.
    """
    return round_by_factors(weight, column_factors(input_hessian, damping), output_fisher, grid, output_damping, block)


def column_factors(
    input_hessian: Float[Tensor, "*parts width width"], damping: float = DAMPING
) -> Float[Tensor, "parts width width"]:
    """What `round_by_factors` needs of H_I, float64: it serves every H_O and damping."""
    hessians = input_hessian if input_hessian.ndim == 3 else input_hessian[None]
    for hessian in hessians:
        check_inputs(hessian)
    return torch.stack([free_column_factors(hessian.double(), damping) for hessian in hessians])


def round_by_factors(
    weight: Float[Tensor, "out width"],
    columns: Float[Tensor, "parts width width"],
    output_fisher: Float[Tensor, "out out"] | OutputMatrix,
    grid: Grid,
    output_damping: float = OUTPUT_DAMPING,
    block: int = ROWS,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """`round_two_sided`, where `column_factors` of the inputs are at hand."""
    if block < 1 or len(weight) % len(columns):
        raise FgqError(f"{len(weight)} rows cannot be rounded {block} at a time in {len(columns)} equal parts")
    matrix = InBlocks(output_fisher[None]) if isinstance(output_fisher, Tensor) else output_fisher
    followers = matrix.followers(output_damping)
    scale, zero, step, shift = find_steps(weight, grid)
    wanted = weight.detach().double()
    codes, errors = torch.empty_like(wanted), torch.empty_like(wanted)
    share = len(weight) // len(columns)
    for part, of_part in enumerate(columns):
        for rows in cut(part * share, (part + 1) * share, block, followers.size):
            moves = followers.reaching(rows)
            heard = len(moves) - (rows.stop - rows.start)
            target = wanted[rows] - moves[:heard].T @ errors[rows.start - heard : rows.start]
            found = round_rows(target, moves[heard:].triu(1), of_part, step[rows], shift[rows], grid)
            codes[rows], errors[rows] = found
    return as_stored(codes, scale, zero, grid)


def cut(start: int, stop: int, most: int, multiple: int) -> list[slice]:
    """Runs of at most so many rows, none of which reaches over a multiple."""
    runs = []
    while start < stop:
        end = min(start + most, stop, (start // multiple + 1) * multiple)
        runs.append(slice(start, end))
        start = end
    return runs


def round_rows(
    target: Float[Tensor, "rows width"],
    moves: Float[Tensor, "rows rows"],
    columns: Float[Tensor, "width width"],
    step: Float[Tensor, "rows width"],
    shift: Float[Tensor, "rows width"],
    grid: Grid,
) -> tuple[Float[Tensor, "rows width"], Float[Tensor, "rows width"]]:
    """Codes of the rows, and their errors against what their row was wanted to be when its turn came.

    Columns are rounded tile by tile, and what a tile leaves for those behind it is one matrix product.
    """
    left, codes, errors = target.clone(), torch.empty_like(target), torch.empty_like(target)
    for start in range(0, target.shape[1], COLUMNS):
        tile, rest = slice(start, start + COLUMNS), slice(start + COLUMNS, None)
        parts = (x[:, tile] for x in (target, left, step, shift))
        codes[:, tile], errors[:, tile], passed = round_tile(*parts, moves, columns[tile, tile], grid)
        left[:, rest] -= passed @ columns[tile, rest]
    return codes, errors


def round_tile(
    target: Float[Tensor, "rows width"],
    left: Float[Tensor, "rows width"],
    step: Float[Tensor, "rows width"],
    shift: Float[Tensor, "rows width"],
    moves: Float[Tensor, "rows rows"],
    columns: Float[Tensor, "width width"],
    grid: Grid,
) -> tuple[Float[Tensor, "rows width"], Float[Tensor, "rows width"], Float[Tensor, "rows width"]]:
    """Codes, errors against `target`, and what each column passes on to those behind it, over its pivot.

    `left` is what the columns before the tile made of `target`. Element (i, c) waits for those left of it and above
    it, so all with one i + c are rounded at once. That takes rows + width steps in place of rows × width. Arrays are
    skewed so that such a wave is a column, and have the last row first so that what a wave reads of `columns` and
    `errors` lies in order.
    """
    rows, width = target.shape
    start, left, step, shift = (skew(x) for x in (target, left, step, shift))
    step = torch.where(step == 0, 1.0, step)  # where no element lies
    moves = moves.flip(0, 1)
    codes, passed = torch.zeros_like(left), torch.zeros_like(left)
    # Row c: what follows R_cc, to the end of the matrix.
    behind = pad(columns.flatten()[1:], (0, width + 1)).view(width, width + 1)[:, : width - 1]
    behind = pad(behind, (0, 0, rows - 1, rows - 1))
    pivots = pad(columns.diagonal(), (rows - 1, rows - 1), value=1.0)
    errors = target.new_zeros(rows, width + 2 * (rows - 1))
    for k in range(rows + width - 1):
        seen = errors[:, k : k + rows]
        value = left[:, k] - (moves * seen).sum(0)
        codes[:, k] = ((value / step[:, k]).round() + shift[:, k]).clamp(grid.lowest, grid.highest)
        error = value - (codes[:, k] - shift[:, k]) * step[:, k]
        seen.diagonal().copy_(error + start[:, k] - left[:, k])
        passed[:, k] = error / pivots[k : k + rows]
        reach = min(width - 1, rows + width - 2 - k)
        left[:, k + 1 : k + 1 + reach] -= passed[:, k, None] * behind[k : k + rows, :reach]
    errors = errors[:, rows - 1 : rows - 1 + width].flip(0)
    return straighten(codes, width), errors, straighten(passed, width)


def skew(x: Float[Tensor, "rows width"]) -> Float[Tensor, "rows waves"]:
    """Row i moved right by i places, the last row first; 0 where nothing lies."""
    rows, width = x.shape
    return pad(x, (0, rows)).flatten()[: rows * (rows + width - 1)].view(rows, -1).flip(0)


def straighten(x: Float[Tensor, "rows waves"], width: int) -> Float[Tensor, "rows width"]:
    """The inverse of `skew`."""
    return pad(x.flip(0).flatten(), (0, len(x))).view(len(x), -1)[:, :width]


def two_sided_loss(
    error: Float[Tensor, "out width"],
    input_hessian: Float[Tensor, "width width"],
    output_fisher: Float[Tensor, "out out"] | OutputMatrix,
) -> float:
    """tr(H_O E H_I Eᵀ), the form that `round_two_sided` makes small."""
    matrix = InBlocks(output_fisher[None]) if isinstance(output_fisher, Tensor) else output_fisher
    return (matrix.apply(error @ input_hessian.to(error)) * error).sum().item()
