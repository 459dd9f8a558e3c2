"""Orthogonal matrices that can be learnt: the Cayley map of free matrices."""

import torch
from jaxtyping import Float
from torch import Tensor


def skew(free: Float[Tensor, "*many size size"]) -> Float[Tensor, "*many size size"]:
    """The skew-symmetric matrix made of the entries below the diagonal; the others are not read."""
    lower = free.tril(-1)
    return lower - lower.transpose(-1, -2)


def cayley(free: Float[Tensor, "*many size size"]) -> Float[Tensor, "*many size size"]:
    """Q = (I - A/2)^-1 (I + A/2) with A = skew(free): orthogonal with determinant 1, and I where free is 0."""
    half = skew(free) / 2
    identity = torch.eye(free.shape[-1], dtype=free.dtype, device=free.device)
    # (I - A/2)^-1 (I + A/2) = 2 (I - A/2)^-1 - I, so the right-hand side of the solve is constant.
    # Expanded, as `solve` takes an unexpanded identity for a stack of vectors when there are `size` matrices.
    return 2 * torch.linalg.solve(identity - half, identity.expand_as(half)) - identity


def random_orthogonal(count: int, size: int, generator: torch.Generator | None) -> Float[Tensor, "count size size"]:
    """Matrices drawn uniformly (Haar measure): QR of a Gaussian with the signs of R's diagonal made positive."""
    q, r = torch.linalg.qr(torch.randn(count, size, size, generator=generator))
    return q * r.diagonal(dim1=-2, dim2=-1).sign()[:, None, :]
