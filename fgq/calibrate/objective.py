"""What calibration minimises: the weighted error of one block's output (FGQ, arXiv:2605.15828, "block loss")."""

import torch
from jaxtyping import Float
from torch import Tensor

from fgq.calibrate.recipe import Recipe, RecipeError

Weights = Float[Tensor, "blocks channels"]


def block_loss(
    output: Float[Tensor, "*tokens channels"],
    target: Float[Tensor, "*tokens channels"],
    weights: Float[Tensor, " channels"],
) -> Float[Tensor, ""]:
    """Mean over tokens and channels of w_l[c] (h - ĥ)². Weights of 1 make it the plain mean squared error."""
    return ((output - target).square() * weights).mean()


def normalised(loss: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """The loss over its own detached value: 1, with the gradient of log(loss).

    It keeps the gradient's size as the error shrinks, and with it cancels every factor common to a block's channels.
    """
    return loss / loss.detach().clamp(min=torch.finfo(loss.dtype).tiny)


def find_weights(recipe: Recipe, fisher: object, block_names: list[str], channels: int) -> Weights:
    """Weights of the block loss: ones, or `fisher.calibration_weights()`.

    `fisher` is a Fisher table or its calibration weights [blocks, channels] as a tensor. Raises RecipeError when the
    recipe needs one and has none, or when it belongs to a model of another size.
    """
    if recipe.weighting == "uniform":
        return torch.ones(len(block_names), channels)
    if fisher is None:
        raise RecipeError(
            f"recipe {recipe.name!r} weights the block loss by Fisher information: pass fisher= (see "
            "fgq.estimate_fisher), or override weighting='uniform'"
        )
    weights = fisher if isinstance(fisher, Tensor) else fisher.calibration_weights()
    expected = (len(block_names), channels)
    if tuple(weights.shape) != expected:
        raise RecipeError(
            f"the Fisher weights are {list(weights.shape)} [blocks, channels] but the model has {list(expected)}: "
            "estimate the Fisher information of this model"
        )
    names = list(getattr(fisher, "block_names", block_names))
    if names != block_names:
        raise RecipeError(f"the Fisher table's blocks are {names[:3]}…, the model's are {block_names[:3]}…")
    bad = ~(torch.isfinite(weights) & (weights >= 0)).all(1)
    if bad.any():
        raise RecipeError(f"the Fisher weights of block {block_names[int(bad.nonzero()[0, 0])]} hold NaN or negatives")
    return weights.detach().float()
