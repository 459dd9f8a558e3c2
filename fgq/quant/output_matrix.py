"""Which errors of a layer's outputs hurt together: H_O in blocks (or one), or as a few directions and a diagonal.

Each form says how the error of a row of the weight is best made up for by the rows behind it. With rows F given and S
free, E_S = -H_SS⁻¹ H_SF E_F is where tr(H_O E H_I Eᵀ) is smallest, whatever H_I. With R the upper Cholesky factor of
H_O⁻¹ = Rᵀ R, the same is R_FSᵀ R_FF⁻ᵀ E_F, so row r moves row s > r by R_rs / R_rr of its own error.

What is kept for fc1 of VGGT-1B (4096 rows), in float32 (`stored_bytes`): 64.0 MiB whole, 4.0 MiB in blocks of 256 rows,
1.0 MiB with 64 directions; for the four layers of one of its blocks 108.0, 9.0 and 2.3 MiB.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fgq.errors import FgqError
from fgq.quant.gptq import free_column_factors


@dataclass(frozen=True)
class DenseFollowers:
    """How each row's error moves the rows behind it; `size` rows, from a multiple of it on, hear of one another."""

    factors: Float[Tensor, "blocks size size"]  # R_rs / R_rr of each block

    @property
    def size(self) -> int:
        return self.factors.shape[1]

    def reaching(self, rows: slice) -> Float[Tensor, "heard_and_rows rows"]:
        """R_rs / R_rr above the diagonal, for s in `rows` and r from the first row that they hear of to their last."""
        block = rows.start // self.size
        first = block * self.size
        return self.factors[block, : rows.stop - first, rows.start - first : rows.stop - first]


@dataclass(frozen=True)
class LowRankFollowers:
    """The same of rows that all hear of one another, by what each sends and each hears in a few numbers."""

    sent: Float[Tensor, "out rank"]
    heard: Float[Tensor, "out rank"]

    @property
    def size(self) -> int:
        return len(self.sent)

    def reaching(self, rows: slice) -> Float[Tensor, "heard_and_rows rows"]:
        return self.sent[: rows.stop] @ self.heard[rows].T


@dataclass(frozen=True)
class InBlocks:
    """Blocks along H_O's diagonal, each symmetric and positive semi-definite; one of all rows is the whole H_O."""

    blocks: Float[Tensor, "blocks size size"]

    @classmethod
    def of(cls, matrix: Float[Tensor, "out out"], size: int) -> "InBlocks":
        """Raises FgqError where the size does not divide the rows."""
        check_divides(size, len(matrix))
        return cls(torch.stack([matrix[i : i + size, i : i + size] for i in range(0, len(matrix), size)]))

    def apply(self, error: Float[Tensor, "out width"]) -> Float[Tensor, "out width"]:
        """H_O times the error, float64."""
        split = error.double().unflatten(0, self.blocks.shape[:2])
        return torch.bmm(self.blocks.double(), split).flatten(0, 1)

    def followers(self, damping: float) -> DenseFollowers:
        """With `damping` times the mean of a block's diagonal added to it; a row of zeros stands alone."""
        check_usable(self.blocks)
        # The ridge is the block's own, as that of all would drown a block of small entries.
        return DenseFollowers(torch.stack([unit_factor(block, damping) for block in self.blocks]))


@dataclass(frozen=True)
class LowRank:
    """H_O ≈ U Uᵀ + diag(d): a few directions, and what they leave of the diagonal."""

    basis: Float[Tensor, "out rank"]
    diagonal: Float[Tensor, " out"]

    @classmethod
    def of(cls, matrix: Float[Tensor, "out out"], rank: int) -> "LowRank":
        """The directions of the `rank` largest eigenvalues; the diagonal of `matrix` is kept exactly."""
        if not 0 < rank <= len(matrix):
            raise FgqError(f"rank {rank} of a matrix with {len(matrix)} rows: choose 1 to {len(matrix)}")
        check_usable(matrix)
        values, directions = torch.linalg.eigh(matrix.double())
        basis = directions[:, -rank:] * values[-rank:].clamp(min=0).sqrt()
        left = (matrix.diagonal().double() - basis.square().sum(1)).clamp(min=0)
        return cls(basis.to(matrix), left.to(matrix))

    def apply(self, error: Float[Tensor, "out width"]) -> Float[Tensor, "out width"]:
        """H_O times the error, float64."""
        basis, error = self.basis.double(), error.double()
        return basis @ (basis.T @ error) + self.diagonal.double()[:, None] * error

    def followers(self, damping: float) -> LowRankFollowers:
        """With `damping` times the mean of H_O's diagonal added to it; nothing of the size out × out is made.

        R_rs / R_rr = -(u_s / d_s)ᵀ K_r u_r with K_r = (I + Σ_{s > r} u_s u_sᵀ / d_s)⁻¹, which Sherman and Morrison's
        formula carries from the last row to the first.
        """
        check_usable(self.basis, self.diagonal)
        basis, diagonal = self.basis.double(), self.diagonal.double()
        whole = diagonal + basis.square().sum(1)
        diagonal = diagonal + torch.where(whole == 0, whole.mean(), damping * whole.mean())
        if not (diagonal > 0).all():
            raise not_definite()
        inverse = torch.eye(basis.shape[1], dtype=torch.float64, device=basis.device)
        sent = torch.empty_like(basis)
        for r in reversed(range(len(basis))):
            sent[r] = inverse @ basis[r]
            inverse -= torch.outer(sent[r], sent[r]) / (diagonal[r] + basis[r] @ sent[r])
        return LowRankFollowers(-sent, basis / diagonal[:, None])


OutputMatrix = InBlocks | LowRank


def unit_factor(matrix: Float[Tensor, "size size"], damping: float) -> Float[Tensor, "size size"]:
    """R_rs / R_rr, upper triangular with a diagonal of ones; the identity where nothing matters."""
    if not matrix.any():
        return torch.eye(len(matrix), dtype=torch.float64, device=matrix.device)
    try:
        factor = free_column_factors(matrix.double(), damping)
    except torch.linalg.LinAlgError:
        raise not_definite() from None
    return factor / factor.diagonal()[:, None]


def check_usable(*parts: Tensor) -> None:
    if not all(torch.isfinite(part).all() for part in parts) or not any(part.any() for part in parts):
        raise FgqError(
            "the output Fisher matrix must be finite and not all zero: check the calibration clips and task_weights"
        )


def not_definite() -> FgqError:
    return FgqError("the output Fisher matrix is not positive definite with its damping: raise output_damping")


def check_divides(size: int, rows: int) -> None:
    if size < 1 or rows % size:
        raise FgqError(f"blocks of {size} rows do not divide {rows} output channels: choose a divisor")


def stored_bytes(rows: int, size: int | None = None, rank: int | None = None) -> int:
    """Bytes of H_O in float32 for a layer of so many output channels: whole, in blocks of `size`, or of a `rank`."""
    return 4 * rows * (rank + 1 if rank is not None else size or rows)
