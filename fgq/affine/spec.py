"""What a quantized block consists of: enough to build one empty and load a checkpoint into it."""

from dataclasses import dataclass

from fgq.errors import FgqError
from fgq.quant.grid import Grid

# diagonal: SmoothQuant's, where a LayerNorm takes it; rotation: fixed flat orthogonal matrices, as QuaRot's;
# kronecker: FlatQuant's learnable affine transforms.
TRANSFORMS = ("none", "diagonal", "rotation", "kronecker")
AT_RUN_TIME = ("rotation", "kronecker")  # leave matrices behind that are multiplied when the model runs


@dataclass(frozen=True)
class BlockSpec:
    """Both grids, the kind of transforms, whether clipping is learnt, and how many clips q, k and v have.

    Raises FgqError for an unknown choice.
    """

    weight: Grid
    activation: Grid
    transforms: str = "none"  # one of TRANSFORMS
    clipping: str = "none"  # "learned": factors on every range
    qkv_clip: str = "separate"  # "shared": one clip for the input of q, k and v

    def __post_init__(self):
        for field, allowed in (
            ("transforms", TRANSFORMS),
            ("clipping", ("none", "learned")),
            ("qkv_clip", ("separate", "shared")),
        ):
            if getattr(self, field) not in allowed:
                raise FgqError(f"{field} {getattr(self, field)!r} is unknown: choose {' or '.join(allowed)}")

    def num_clips(self, projections: tuple[str, ...]) -> int:
        """Activation quantizers in front of a linear layer that stacks these projections."""
        return len(projections) if self.qkv_clip == "separate" and self.clipping == "learned" else 1
