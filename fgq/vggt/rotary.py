"""Where tokens stand: positions of a frame's tokens, and how queries and keys turn by them (2-D RoPE)."""

import copy
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

ROPE_BASE = 100.0  # VGGT's rotary base; positions are patch indices, not pixels


def patch_positions(
    rows: int, columns: int, num_special: int, device=None
) -> Int64[Tensor, "{num_special}+{rows}*{columns} 2"]:
    """Row and column of every token of a frame.

    Special tokens sit at (0, 0) and patches start at (1, 1), so a special token is never rotated.
    """
    grid = torch.cartesian_prod(torch.arange(rows, device=device), torch.arange(columns, device=device)) + 1
    return torch.cat([torch.zeros(num_special, 2, dtype=grid.dtype, device=device), grid])


class RotaryTable:
    """Cosines and sines [..., tokens, head_dim] of one set of positions, computed once for all blocks.

    The first half of a head's channels turns with the row, the second half with the column
    (VGGT's extension of arXiv:2104.09864 to two axes). `special` are the rows of the special tokens in the sequence,
    for blocks that treat them in their own way; None where nobody asks for them.
    """

    lengths: tuple[int, ...] | None = None  # of several sequences: see `apart`

    def __init__(
        self,
        positions: Int64[Tensor, "*batch tokens 2"],
        head_dim: int,
        dtype: torch.dtype = torch.float32,
        special: Int64[Tensor, " special"] | None = None,
    ):
        axis_dim = head_dim // 2
        exponents = torch.arange(0, axis_dim, 2, device=positions.device, dtype=torch.float32) / axis_dim
        frequencies = ROPE_BASE**-exponents
        angles = positions.to(torch.float32)[..., None] * frequencies  # [..., tokens, axis, axis_dim / 2]
        angles = torch.cat([angles, angles], dim=-1).flatten(-2)
        self.cos = angles.cos().to(dtype)
        self.sin = angles.sin().to(dtype)
        self.special = special

    def apart(self, lengths: Sequence[int]) -> "RotaryTable":
        """Of the same positions as several sequences, one after another, that do not attend to each other."""
        table = copy.copy(self)
        table.lengths = tuple(lengths)
        return table

    @property
    def num_tokens(self) -> int:
        return self.cos.shape[-2]

    def rotate(self, x: Float[Tensor, "batch heads tokens head_dim"]) -> Float[Tensor, "batch heads tokens head_dim"]:
        """Turns queries or keys to their positions."""
        pieces = x.unflatten(-1, (2, 2, -1))  # axis, half of the axis' channels, channel
        first, second = pieces.unbind(-2)  # one node, where two selections would each fill a gradient with zeros
        turned = torch.stack([-second, first], dim=-2).flatten(-3)
        return x * self.cos.to(x.dtype) + turned * self.sin.to(x.dtype)
