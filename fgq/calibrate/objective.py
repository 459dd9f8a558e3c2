"""What calibration minimises: the weighted error of one block's output (FGQ, arXiv:2605.15828, "block loss")."""

import torch
from jaxtyping import Float
from torch import Tensor

from fgq.calibrate.recipe import Recipe, RecipeError
from fgq.fisher import FisherTable
from fgq.vggt import TASKS, VGGT

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


def find_weights(recipe: Recipe, fisher: FisherTable | Weights | None, model: VGGT) -> Weights:
    """Weights of the block loss: ones, or those of the Fisher table.

    Raises RecipeError when the recipe needs a table and has none, or for weights [blocks, channels] of another size,
    negative ones and NaN; FgqError for a table that was estimated on another model.
    """
    names, channels = model.config.block_names, model.config.embed_dim
    for field in ("block_weight_bits", "block_activation_bits"):
        stated = getattr(recipe, field)
        if stated is not None and len(stated) != len(names):
            raise RecipeError(f"{field} states {len(stated)} blocks, the model has {len(names)}")
    if recipe.deals_bits and not isinstance(fisher, FisherTable):
        raise RecipeError(
            f"recipe {recipe.name!r} deals bits to blocks by their Fisher information: pass fisher= a table of "
            "fgq.estimate_fisher, or state block_weight_bits (and block_activation_bits)"
        )
    if recipe.weighting == "uniform":
        return torch.ones(len(names), channels)
    if fisher is None:
        raise RecipeError(
            f"recipe {recipe.name!r} weights the block loss by Fisher information: pass fisher= (see "
            "fgq.estimate_fisher), or override weighting='uniform'"
        )
    if isinstance(fisher, FisherTable):
        fisher.check_matches(model)
        return fisher.calibration_weights(dict(zip(TASKS, recipe.task_weights, strict=True)))
    if list(fisher.shape) != [len(names), channels]:
        raise RecipeError(
            f"the Fisher weights are {list(fisher.shape)} [blocks, channels] but the model has "
            f"{[len(names), channels]}: estimate the Fisher information of this model"
        )
    bad = ~(torch.isfinite(fisher) & (fisher >= 0)).all(1)
    if bad.any():
        raise RecipeError(f"the Fisher weights of block {names[int(bad.nonzero()[0, 0])]} hold NaN or negatives")
    return fisher.detach().float()
