"""Transforms by a Kronecker product of two small matrices, never built in full (FlatQuant, arXiv:2410.09426)."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fgq.affine.diagonal import SMALLEST
from fgq.affine.matrix import LearnableMatrix, MatrixPair, limit_magnitude, pairs_of, spread


def balanced_factors(width: int) -> tuple[int, int]:
    """The two factors of a width that lie closest together, the smaller first: 128 -> (8, 16)."""
    left = next(left for left in range(isqrt(width), 0, -1) if width % left == 0)
    return left, width // left


class MultiplyKronecker(torch.autograd.Function):
    """x (left ⊗ right) of rows [rows, l, r]; without `right`, x (left ⊗ I). One node, and few operations in it."""

    @staticmethod
    def forward(ctx, x: Tensor, left: Tensor, right: Tensor | None) -> Tensor:
        ctx.dtype = x.dtype
        with torch.autocast(x.device.type, enabled=False):  # what is rounded next should not be rounded before
            x = x.to(left.dtype)
            rows = x if right is None else (x.reshape(-1, len(right)) @ right).view(x.shape)
            ctx.save_for_backward(x, left, right, rows)
            # A batched product of an expanded matrix is the fastest way on a CPU, forward and backward.
            return torch.bmm(left.T.expand(len(x), -1, -1), rows)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        x, left, right, rows = ctx.saved_tensors
        of_x = of_left = of_right = None
        if ctx.needs_input_grad[1]:
            of_left = torch.bmm(rows, gradient.transpose(1, 2)).sum(0)
        if ctx.needs_input_grad[0] or ctx.needs_input_grad[2]:
            of_x = torch.bmm(left.expand(len(x), -1, -1), gradient)
            if right is not None:
                flat = of_x.view(-1, len(right))
                of_right = x.reshape(-1, len(right)).T @ flat if ctx.needs_input_grad[2] else None
                of_x = (flat @ right.T).view(x.shape) if ctx.needs_input_grad[0] else None
        return None if of_x is None else of_x.to(ctx.dtype), of_left, of_right


def apply_left(x: Float[Tensor, "*rows width"], left: Float[Tensor, "l l"]) -> Float[Tensor, "*rows width"]:
    """x (left ⊗ I), with width = l * r."""
    rows = x.reshape(-1, len(left), x.shape[-1] // len(left))
    return MultiplyKronecker.apply(rows, left, None).view(x.shape)


def apply_kronecker(
    x: Float[Tensor, "*rows width"], left: Float[Tensor, "l l"], right: Float[Tensor, "r r"]
) -> Float[Tensor, "*rows width"]:
    """x (left ⊗ right), with width = l * r, in l + r products a value where the full matrix takes l * r."""
    return MultiplyKronecker.apply(x.reshape(-1, len(left), len(right)), left, right).view(x.shape)


@dataclass(frozen=True)
class Kronecker:
    """One step's matrices of a transform: computed once, used for the activation and for every weight."""

    left: MatrixPair
    right: MatrixPair
    diagonal: Float[Tensor, " width"] | None
    smoothing: Float[Tensor, " width"] | None = None  # e: a diagonal behind the matrices

    def apply(self, x: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows width"]:
        """(x ⊙ d)(P₁ ⊗ P₂) ⊙ e"""
        if self.diagonal is not None:
            x = x * self.diagonal
        x = apply_kronecker(x, self.left.forward, self.right.forward)
        return x if self.smoothing is None else x * self.smoothing

    def apply_left(self, x: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows width"]:
        """x (P₁ ⊗ I) ⊙ e, for an input whose P₂ has been folded into whatever made it."""
        x = apply_left(x, self.left.forward)
        return x if self.smoothing is None else x * self.smoothing

    def apply_inverse(self, weight: Float[Tensor, "out width"]) -> Float[Tensor, "out width"]:
        """(w ⊘ d)(P₁ ⊗ P₂)^-T ⊘ e, so that apply(x) · apply_inverse(w) = x · w."""
        if self.diagonal is not None:
            weight = weight / self.diagonal
        weight = apply_kronecker(weight, self.left.inverse, self.right.inverse)
        return weight if self.smoothing is None else weight / self.smoothing


class GivenKronecker(nn.Module):
    """Matrices that are known beforehand and do not learn; without factors, a diagonal alone."""

    def __init__(
        self,
        left: Float[Tensor, "l l"],
        right: Float[Tensor, "r r"],
        diagonal: Float[Tensor, " width"] | None = None,
        smoothing: Float[Tensor, " width"] | None = None,
    ):
        super().__init__()
        for name, value in (("left", left), ("right", right), ("diagonal", diagonal), ("smoothing", smoothing)):
            self.register_buffer(name, value)

    def matrices(self) -> Kronecker:
        """Orthogonal matrices are their own inverse transpose."""
        sides = MatrixPair(self.left, self.left), MatrixPair(self.right, self.right)
        return Kronecker(*sides, self.diagonal, self.smoothing)

    def condition(self) -> float:
        """Of the matrices, which are orthogonal."""
        return 1.0

    @torch.no_grad()
    def become_identity(self) -> None:
        self.left.copy_(torch.eye(len(self.left)))
        self.right.copy_(torch.eye(len(self.right)))
        for values in (self.diagonal, self.smoothing):
            if values is not None:
                values.fill_(1)


class LearnableKronecker(nn.Module):
    """Two learnable matrices and, where a start is given, a learnable diagonal."""

    def __init__(
        self,
        left_size: int,
        right_size: int,
        diagonal: Float[Tensor, " width"] | None = None,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        self.left = LearnableMatrix(left_size, generator)
        self.right = LearnableMatrix(right_size, generator)
        self.diagonal = None if diagonal is None else nn.Parameter(diagonal.clone())

    def matrices(self) -> Kronecker:
        return all_matrices({"": self})[""]

    def condition(self) -> float:
        """Condition number of P₁ ⊗ P₂, the product of theirs; the diagonal has its own (`diagonal_ratio`)."""
        return self.left.condition() * self.right.condition()

    @torch.no_grad()
    def keep_invertible(self) -> None:
        """Bounds the singular values (see `LearnableMatrix`) and keeps the diagonal off 0, after a step."""
        self.left.keep_invertible()
        self.right.keep_invertible()
        if self.diagonal is not None:
            limit_magnitude(self.diagonal, 1 / SMALLEST)

    @torch.no_grad()
    def become_identity(self) -> None:
        self.left.become_identity()
        self.right.become_identity()
        if self.diagonal is not None:
            self.diagonal.fill_(1)


def diagonal_ratio(transform: GivenKronecker | LearnableKronecker) -> float:
    """Largest over smallest magnitude of the diagonals before and behind the matrices, 1 where there are none."""
    behind = transform.smoothing if isinstance(transform, GivenKronecker) else None
    return max(1.0 if values is None else spread(values) for values in (transform.diagonal, behind))


def all_matrices(transforms: Mapping[str, GivenKronecker | LearnableKronecker]) -> dict[str, Kronecker]:
    """Every transform's matrices; those that learn are computed together."""
    learnable = {name: each for name, each in transforms.items() if isinstance(each, LearnableKronecker)}
    pairs = iter(pairs_of([side for each in learnable.values() for side in (each.left, each.right)]))
    found = {name: Kronecker(next(pairs), next(pairs), each.diagonal) for name, each in learnable.items()}
    return {name: found[name] if name in found else each.matrices() for name, each in transforms.items()}
