"""Flat orthogonal matrices of any size: every entry about as large as every other, so that a rotation spreads outliers.

Powers of two have Hadamard matrices (all entries ±1/√n). The odd factor of another width gets a Hartley matrix, whose
entries stay below √2/√n.
"""

import math

import torch
from jaxtyping import Float
from scipy.linalg import hadamard
from torch import Tensor


def hartley(size: int) -> Float[Tensor, "size size"]:
    """cas(2π j k / n) / √n with cas = cos + sin: real, symmetric, orthogonal for every n, in float64."""
    angle = 2 * math.pi * torch.outer(torch.arange(size), torch.arange(size)).double() / size
    return (angle.cos() + angle.sin()) / math.sqrt(size)


def flat_orthogonal(size: int) -> Float[Tensor, "size size"]:
    """A Hadamard matrix of the largest power of two in `size`, ⊗ a Hartley matrix of the rest; float64."""
    power = size & -size
    signs = torch.from_numpy(hadamard(power)).double() / math.sqrt(power)
    return torch.kron(signs, hartley(size // power))


def random_flat_orthogonal(size: int, generator: torch.Generator | None = None) -> Float[Tensor, "size size"]:
    """Its rows with random signs, as in QuaRot (arXiv:2404.00456): diag(±1) H, in float32."""
    signs = torch.randint(0, 2, (size, 1), generator=generator).double() * 2 - 1
    return (signs * flat_orthogonal(size)).float()
