"""Depth errors after one scale for the whole scene, or after one scale and one shift."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fgq.errors import FgqError

INLIER_RATIO = 1.25


def scale_to(predicted: Float[Tensor, "*pixels"], truth: Float[Tensor, "*pixels"]) -> Float[Tensor, "*pixels"]:
    """The prediction with the truth's median. Raises FgqError where its own is not positive."""
    middle = predicted.median()
    if not middle > 0:
        raise FgqError(f"the median predicted depth is {middle.item():.3g}; depth must be positive")
    return predicted * (truth.median() / middle)


def scale_and_shift_to(
    predicted: Float[Tensor, "*pixels"], truth: Float[Tensor, "*pixels"]
) -> Float[Tensor, "*pixels"]:
    """The affine function of the prediction that is nearest to the truth in least squares.

    Its scale is at least zero: a prediction that has near and far the wrong way round becomes the truth's mean, as a
    constant one does, and is not turned into a good one.
    """
    centred, target = predicted - predicted.mean(), truth.mean()
    spread = centred.square().sum()
    if not spread > 0:
        return target.expand_as(predicted)
    return ((centred * (truth - target)).sum() / spread).clamp(min=0) * centred + target


def valid_depths(
    predicted: Float[Tensor, "*pixels"], truth: Float[Tensor, "*pixels"], valid: Bool[Tensor, "*pixels"]
) -> tuple[Float[Tensor, " valid"], Float[Tensor, " valid"]]:
    """Both at the valid pixels, in double precision. Raises FgqError for none, and for true depths that are none."""
    predicted, truth = predicted[valid].double(), truth[valid].double()
    if not len(truth):
        raise FgqError("no pixel has a valid depth")
    if not (truth > 0).all():
        raise FgqError(f"{int((truth <= 0).sum())} valid pixels have a true depth of zero or less: mark them invalid")
    return predicted, truth


def depth_errors(
    predicted: Float[Tensor, "*pixels"],
    truth: Float[Tensor, "*pixels"],
    valid: Bool[Tensor, "*pixels"],
    align: Callable[[Tensor, Tensor], Tensor] = scale_to,
) -> dict[str, float]:
    """AbsRel, SqRel, RMSE (unit of the truth) and the share of pixels within a factor of 1.25.

    Over the valid pixels of all frames of a scene, after `align`: one scale that makes the medians agree, or
    `scale_and_shift_to` for affine-invariant depth. There is one for a scene, not one for a frame: frames must agree
    with each other. Raises FgqError where no pixel is valid, a valid true depth is not positive, or `align` does.
    """
    predicted, truth = valid_depths(predicted, truth, valid)
    aligned = align(predicted, truth)
    difference = aligned - truth
    ratio = (aligned / truth).maximum(truth / aligned.clamp(min=1e-12))
    return {
        "abs_rel": (difference.abs() / truth).mean().item(),
        "sq_rel": (difference.square() / truth).mean().item(),
        "rmse": difference.square().mean().sqrt().item(),
        "delta1": (ratio < INLIER_RATIO).to(torch.float64).mean().item(),
    }
