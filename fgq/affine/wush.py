"""Where a transform may start in closed form: both second moments balanced, then spread evenly (WUSH).

With A Aᵀ = Σ x xᵀ of the inputs, B Bᵀ = Wᵀ W of the weights that read them and the singular values Bᵀ A = U S Vᵀ, the
transform P = B U S^(-1/2) H gives activations x P and weights w P^-T the same moments Hᵀ S H. No other P makes the
product of both traces smaller, and H, orthogonal and flat, shares them out among the channels. Source: WUSH
(arXiv:2512.00956), which applies a P to each run of neighbouring channels. Here P is a Kronecker product: with one
factor fixed, the other's best is of the same form, so they take turns.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from fgq.affine.hadamard import random_flat_orthogonal

RIDGE = 0.01  # of a moment's mean diagonal, added to it: a direction that was not seen is not stretched without end
TURNS = 8  # by then the product of the traces moves by less than a thousandth


def balanced(inputs: Float[Tensor, "size size"], weights: Float[Tensor, "size size"]) -> Float[Tensor, "size size"]:
    """B U S^(-1/2) of the moments Σ x xᵀ and Wᵀ W, both positive definite; float64."""
    a, b = torch.linalg.cholesky(inputs.double()), torch.linalg.cholesky(weights.double())
    u, s, _ = torch.linalg.svd(b.T @ a)
    return (b @ u) / s.sqrt()


def balanced_kronecker(
    inputs: Float[Tensor, "width width"], weights: Float[Tensor, "width width"], left: int, right: int
) -> tuple[Float[Tensor, "left left"], Float[Tensor, "right right"]]:
    """Factors of P₁ ⊗ P₂, each the balanced one given the other, of determinant ±1; float64."""
    moments = [regular(moment).view(left, right, left, right) for moment in (inputs, weights)]
    first = torch.eye(left, dtype=torch.float64, device=inputs.device)
    second = torch.eye(right, dtype=torch.float64, device=inputs.device)
    for _ in range(TURNS):
        second = unimodular(balanced(*(over_left(m, p) for m, p in zip(moments, sides(first), strict=True))))
        first = unimodular(balanced(*(over_right(m, p) for m, p in zip(moments, sides(second), strict=True))))
    return first, second


def sides(p: Tensor) -> tuple[Tensor, Tensor]:
    """What activations and weights are multiplied by: P and P^-T."""
    return p, torch.linalg.inv(p).T


def over_left(moment: Float[Tensor, "l r l r"], p: Float[Tensor, "l l"]) -> Float[Tensor, "r r"]:
    """Of the right factor's channels, once the left ones have been multiplied by p and summed over."""
    return torch.einsum("irjs,ij->rs", moment, p @ p.T)


def over_right(moment: Float[Tensor, "l r l r"], p: Float[Tensor, "r r"]) -> Float[Tensor, "l l"]:
    return torch.einsum("irjs,rs->ij", moment, p @ p.T)


def regular(moment: Float[Tensor, "width width"]) -> Float[Tensor, "width width"]:
    moment = moment.double()
    mean = moment.diagonal().mean()
    return moment + RIDGE * torch.where(mean > 0, mean, 1.0) * torch.eye(len(moment)).to(moment)


def unimodular(p: Float[Tensor, "size size"]) -> Float[Tensor, "size size"]:
    """Its scale does not matter: scales of activations and weights follow."""
    return p / torch.linalg.slogdet(p).logabsdet.div(len(p)).exp()


def wush_factors(
    inputs: Float[Tensor, "width width"],
    weights: Float[Tensor, "width width"],
    left: int,
    right: int,
    generator: torch.Generator | None = None,
) -> tuple[Float[Tensor, "left left"], Float[Tensor, "right right"]]:
    """`balanced_kronecker` with random flat rotations behind it."""
    factors = balanced_kronecker(inputs, weights, left, right)
    return tuple(factor @ random_flat_orthogonal(len(factor), generator).to(factor) for factor in factors)
