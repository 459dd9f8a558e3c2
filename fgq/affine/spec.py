"""What a quantized block consists of: enough to build one empty and load a checkpoint into it."""

from dataclasses import dataclass, replace

from fgq.affine.sites import SITES, Site
from fgq.errors import FgqError
from fgq.quant.grid import Grid

# diagonal: SmoothQuant's, where a LayerNorm takes it; rotation: fixed flat orthogonal matrices, as QuaRot's;
# rotation_smoothing: the same rotations and behind each of them a diagonal, as QuantVGGT's;
# kronecker: FlatQuant's learnable affine transforms.
TRANSFORMS = ("none", "diagonal", "rotation", "rotation_smoothing", "kronecker")
ROTATIONS = ("rotation", "rotation_smoothing")
AT_RUN_TIME = (*ROTATIONS, "kronecker")  # leave matrices behind that are multiplied when the model runs
# Whose ranges get learnt factors: FlatQuant's LWC, its LAC, or both.
CLIPPING = ("none", "weights", "activations", "learned")


@dataclass(frozen=True)
class BlockSpec:
    """Both grids, the kind of transforms, whether clipping is learnt, and how many clips q, k and v have.

    `layer_bits` are the weight bits at each site, in the order of SITES, where they are not those of the grid.
    Raises FgqError for an unknown choice, and for `layer_bits` of another number than there are sites.
    """

    weight: Grid
    activation: Grid
    transforms: str = "none"  # one of TRANSFORMS
    clipping: str = "none"  # one of CLIPPING
    qkv_clip: str = "separate"  # "shared": one clip for the input of q, k and v
    layer_bits: tuple[int, ...] | None = None  # of q/k/v, o, fc1 and fc2

    def __post_init__(self):
        for field, allowed in (
            ("transforms", TRANSFORMS),
            ("clipping", CLIPPING),
            ("qkv_clip", ("separate", "shared")),
        ):
            if getattr(self, field) not in allowed:
                raise FgqError(f"{field} {getattr(self, field)!r} is unknown: choose {' or '.join(allowed)}")

        if self.layer_bits is not None:
            if len(self.layer_bits) != len(SITES):
                raise FgqError(f"layer_bits are {list(self.layer_bits)}: state {len(SITES)}, for q/k/v, o, fc1 and fc2")
            for site in SITES:
                self.weight_at(site)  # whose grid checks the bits

    def weight_at(self, site: Site) -> Grid:
        if self.layer_bits is None:
            return self.weight
        return replace(self.weight, bits=self.layer_bits[SITES.index(site)])

    def num_clips(self, projections: tuple[str, ...]) -> int:
        """Activation quantizers in front of a linear layer that stacks these projections."""
        return len(projections) if self.qkv_clip == "separate" and self.clips_activations else 1

    @property
    def clips_weights(self) -> bool:
        return self.clipping in ("weights", "learned")

    @property
    def clips_activations(self) -> bool:
        return self.clipping in ("activations", "learned")
