"""What a quantized block consists of: enough to build one empty and load a checkpoint into it."""

from dataclasses import dataclass

from fgq.errors import FgqError
from fgq.quant.grid import Grid


@dataclass(frozen=True)
class BlockSpec:
    """Both grids, the kind of transforms, whether clipping is learnt, and how many clips q, k and v have.

    Raises FgqError for an unknown choice.
    """

    weight: Grid
    activation: Grid
    transforms: str = "none"  # "kronecker": learnable affine transforms
    clipping: str = "none"  # "learned": factors on every range
    qkv_clip: str = "separate"  # "shared": one clip for the input of q, k and v

    def __post_init__(self):
        for field, allowed in (
            ("transforms", ("none", "kronecker")),
            ("clipping", ("none", "learned")),
            ("qkv_clip", ("separate", "shared")),
        ):
            if getattr(self, field) not in allowed:
                raise FgqError(f"{field} {getattr(self, field)!r} is unknown: choose {' or '.join(allowed)}")

    def num_clips(self, projections: tuple[str, ...]) -> int:
        """Activation quantizers in front of a linear layer that stacks these projections."""
        return len(projections) if self.qkv_clip == "separate" and self.clipping == "learned" else 1
