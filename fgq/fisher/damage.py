"""From a Fisher table and an error of a block's output to the damage that each task is predicted to take."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from fgq.errors import FgqError
from fgq.fisher.table import FisherTable
from fgq.vggt import TASKS
from fgq.vggt.aggregator import ClipShape
from fgq.vggt.token_kinds import count_kinds, kind_slices


def mean_by_kind(squares: Float[Tensor, "frames tokens channels"], special: int) -> Float[Tensor, "kinds channels"]:
    """E[Δ²] over the camera tokens, the registers (of `special` tokens in front) and the patches; 0 where none are."""
    kinds = [squares[:, rows] for rows in kind_slices(special).values()]
    return torch.stack([kind.mean((0, 1)) if kind.shape[1] else squares.new_zeros(squares.shape[-1]) for kind in kinds])


def kinds_of_clips(shapes: Sequence[ClipShape], special: int) -> Float[Tensor, "clips kinds"]:
    """Tokens of each kind in each clip, float64."""
    counts = [
        [frames * count for count in count_kinds(special + rows * columns, special).values()]
        for frames, rows, columns in shapes
    ]
    return torch.tensor(counts, dtype=torch.float64)


def kind_shares(shapes: Sequence[ClipShape], special: int) -> Float[Tensor, "clips kinds"]:
    """The same over their mean over clips: what a clip counts for in a mean over all tokens of a kind."""
    counts = kinds_of_clips(shapes, special)
    return torch.where(counts > 0, counts / counts.mean(0), 1.0)


def predict_damage(
    fisher: FisherTable,
    blocks: Sequence[str],
    errors: Float[Tensor, "errors kinds channels"],
    tokens: Float[Tensor, " kinds"] | None = None,
) -> Float[Tensor, "errors tasks"]:
    """½ Δᵀ F Δ with the diagonal F, for E[Δ²] of outputs of `blocks` (one name an error), float64.

    Without `tokens` every kind of token has its own sum, ½ Σ_kind Σ_c F[l, kind, c] E_kind[Δ_c²]. With the number of
    tokens of each kind in a frame it is the published ½ Σ_c F[l, c] E[Δ_c²] (arXiv:2605.15828), E over all tokens.
    Raises FgqError for a table without that block, or without kinds where they are needed.
    """
    unknown = [name for name in blocks if name not in fisher.block_names]
    if unknown:
        raise FgqError(f"the Fisher table has no block {unknown[0]}: estimate it on the model that was measured")
    rows, columns = [fisher.tasks.index(task) for task in TASKS], [fisher.block_names.index(name) for name in blocks]
    if tokens is not None:
        mean = torch.einsum("ekc,k->ec", errors, tokens / tokens.sum())
        return 0.5 * torch.einsum("tec,ec->et", fisher.values[rows][:, columns].double(), mean)
    if fisher.by_kind is None:
        raise FgqError("this Fisher table does not keep the kinds of tokens apart: estimate it again")
    return 0.5 * torch.einsum("tkec,ekc->et", fisher.by_kind[rows][:, :, columns].double(), errors)
