"""Similarity transforms between matched point sets (Umeyama, IEEE PAMI 13(4), 1991)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fgq.errors import FgqError


@dataclass(frozen=True)
class Similarity:
    """x ↦ scale · rotation · x + translation."""

    scale: Float[Tensor, ""]
    rotation: Float[Tensor, "3 3"]
    translation: Float[Tensor, "3"]

    def apply(self, points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
        return self.scale * points @ self.rotation.T + self.translation


def align_similarity(source: Float[Tensor, "points 3"], target: Float[Tensor, "points 3"]) -> Similarity:
    """The Sim(3) that moves `source` closest to `target` in least squares (Umeyama's equations 34 to 43).

    Never a reflection. Raises FgqError for fewer than three points, or when all source points are one.
    """
    if len(source) < 3:
        raise FgqError(f"a similarity needs at least 3 matched points, got {len(source)}")
    source_mean, target_mean = source.mean(0), target.mean(0)
    centred_source, centred_target = source - source_mean, target - target_mean
    spread = centred_source.square().sum(-1).mean()
    if spread <= torch.finfo(source.dtype).tiny:
        raise FgqError("all points to align lie in one place: no scale can be found")
    u, singular, vt = torch.linalg.svd(centred_target.T @ centred_source / len(source))
    sign = torch.ones(3, dtype=source.dtype, device=source.device)
    sign[2] = torch.sign(torch.linalg.det(u) * torch.linalg.det(vt))
    rotation = u @ torch.diag(sign) @ vt
    scale = (singular * sign).sum() / spread
    return Similarity(scale, rotation, target_mean - scale * rotation @ source_mean)
