"""Depth errors after one scale for the whole scene."""

from jaxtyping import Bool, Float
from torch import Tensor

from fgq.errors import FgqError

INLIER_RATIO = 1.25


def depth_errors(
    predicted: Float[Tensor, "*pixels"], truth: Float[Tensor, "*pixels"], valid: Bool[Tensor, "*pixels"]
) -> dict[str, float]:
    """AbsRel, SqRel, RMSE (unit of the truth) and the share of pixels within a factor of 1.25.

    Over the valid pixels of all frames of a scene, after scaling the prediction so that both medians agree.
    The scale is one a scene, not one a frame: frames must agree with each other. Raises FgqError where no pixel is
    valid, a valid true depth is not positive, or the median prediction is not positive.
    """
    predicted, truth = predicted[valid].double(), truth[valid].double()
    if not len(truth):
        raise FgqError("no pixel has a valid depth")
    if not (truth > 0).all():
        raise FgqError(f"{int((truth <= 0).sum())} valid pixels have a true depth of zero or less: mark them invalid")
    middle = predicted.median()
    if not middle > 0:
        raise FgqError(f"the median predicted depth is {middle.item():.3g}; depth must be positive")
    predicted = predicted * (truth.median() / middle)
    difference = predicted - truth
    ratio = (predicted / truth).maximum(truth / predicted.clamp(min=1e-12))
    return {
        "abs_rel": (difference.abs() / truth).mean().item(),
        "sq_rel": (difference.square() / truth).mean().item(),
        "rmse": difference.square().mean().sqrt().item(),
        "delta1": (ratio < INLIER_RATIO).double().mean().item(),
    }
