"""Relative pose errors of frame pairs, and the accuracy measures made of them (protocol of arXiv:2503.11651)."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fgq.errors import FgqError
from fgq.geometry import compose_extrinsics, invert_extrinsics

RECALL_THRESHOLD = 30  # degrees, of RRA and RTA


def relative_poses(extrinsics: Float[Tensor, "*batch frames 3 4"]) -> Float[Tensor, "*batch pairs 3 4"]:
    """Camera i from camera j for all i < j, in the order (0, 1), (0, 2), …, (1, 2), …

    The direction matters: the translation of the inverse motion has another error.
    """
    first, second = torch.triu_indices(extrinsics.shape[-3], extrinsics.shape[-3], offset=1)
    return compose_extrinsics(extrinsics[..., first, :, :], invert_extrinsics(extrinsics[..., second, :, :]))


def rotation_angle(a: Float[Tensor, "*batch 3 3"], b: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch"]:
    """Degrees from rotation a to rotation b.

    By the Frobenius distance, 2√2 sin(θ/2): near zero the arc cosine of the trace would lose half the digits.
    """
    sine = ((a - b).flatten(-2).norm(dim=-1) / 8**0.5).clamp(max=1)
    return torch.rad2deg(2 * sine.asin())


def direction_angle(a: Float[Tensor, "*batch 3"], b: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
    """Degrees between two translation directions, folded to at most 90: their sign does not count.

    A translation of length zero has no direction; its angle is 90, unless both are zero, then 0.
    """
    cross = torch.linalg.cross(a, b, dim=-1).norm(dim=-1)
    angle = torch.rad2deg(torch.atan2(cross, (a * b).sum(-1).abs()))
    a_still, b_still = a.norm(dim=-1) < 1e-9, b.norm(dim=-1) < 1e-9
    return torch.where(a_still | b_still, torch.where(a_still & b_still, 0.0, 90.0).to(angle.dtype), angle)


def pair_errors(
    predicted: Float[Tensor, "*batch frames 3 4"], truth: Float[Tensor, "*batch frames 3 4"]
) -> tuple[Float[Tensor, "*batch pairs"], Float[Tensor, "*batch pairs"]]:
    """Rotation and translation-direction error of every pair of frames, degrees.

    Raises FgqError for fewer than two frames.
    """
    if truth.shape[-3] < 2:
        raise FgqError("relative poses need at least 2 frames a scene, got 1")
    a, b = relative_poses(predicted), relative_poses(truth)
    return rotation_angle(a[..., :3], b[..., :3]), direction_angle(a[..., 3], b[..., 3])


def auc(
    rotation: Float[Tensor, "*batch pairs"], translation: Float[Tensor, "*batch pairs"], threshold: int
) -> Float[Tensor, "*batch"]:
    """Area under the accuracy curve up to `threshold` degrees, percent.

    Accuracy is taken at 1°, 2°, …, and averaged.
    """
    return 100 * pairs_below(rotation, translation, threshold).to(rotation.dtype).mean(dim=(-2, -1))


def pairs_below(
    rotation: Float[Tensor, "*batch pairs"], translation: Float[Tensor, "*batch pairs"], threshold: int
) -> Bool[Tensor, "*batch pairs {threshold}"]:
    """Whether a pair's larger error is below 1°, 2°, …, `threshold`.

    A pair at exactly the threshold still counts in the last bin, as in numpy's histogram.
    """
    worst = torch.maximum(rotation, translation)
    below = worst[..., None] < torch.arange(1, threshold + 1, dtype=worst.dtype, device=worst.device)
    below[..., -1] |= worst == threshold
    return below


def recall(errors: Float[Tensor, "*batch pairs"], threshold: float = RECALL_THRESHOLD) -> Float[Tensor, "*batch"]:
    """Percent of pairs below `threshold` degrees: RRA of rotation errors, RTA of translation errors."""
    return 100 * (errors < threshold).to(errors.dtype).mean(-1)
