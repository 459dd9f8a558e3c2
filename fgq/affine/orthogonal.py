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


def inverse_cayley(q: Float[Tensor, "size size"]) -> Float[Tensor, "size size"]:
    """The free matrix whose Cayley map is q, which must be orthogonal without the eigenvalue -1."""
    identity = torch.eye(len(q), dtype=q.dtype, device=q.device)
    return (2 * identity - 4 * torch.linalg.inv(q + identity)).tril(-1)


def reachable_signs(q: Float[Tensor, "size size"]) -> Float[Tensor, " size"]:
    """Signs of the columns of an orthogonal q with which it is a Cayley map.

    Of 1 + q diag(signs) each pivot of the elimination is made at least 1, so its determinant is too, and no eigenvalue
    is near -1.
    """
    left, signs = q.clone(), torch.ones(len(q), dtype=q.dtype, device=q.device)
    for k in range(len(q)):
        signs[k] = 1.0 if left[k, k] >= 0 else -1.0
        # Eliminating column k of 1 + q diag(signs): what is left of q behind it, its own signs not yet chosen.
        pivot = 1 + signs[k] * left[k, k]
        left = left - torch.outer(left[:, k], left[k]) * signs[k] / pivot
    return signs


def random_orthogonal(count: int, size: int, generator: torch.Generator | None) -> Float[Tensor, "count size size"]:
    """Matrices drawn uniformly (Haar measure): QR of a Gaussian with the signs of R's diagonal made positive."""
    q, r = torch.linalg.qr(torch.randn(count, size, size, generator=generator))
    return q * r.diagonal(dim1=-2, dim2=-1).sign()[:, None, :]
