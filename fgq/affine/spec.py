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

    `layer_bits` are the weight bits at each site, in the order of SITES, where they are not those of the grid;
    `activation_bits` those of the activations, as pairs: of the patches and of the special tokens. The latter are None
    where special tokens are quantized as patches are; otherwise they use their whole range, whatever patches learn.
    Raises FgqError for an unknown choice, and for bits of another number of sites than there are.
    """

    weight: Grid
    activation: Grid
    transforms: str = "none"  # one of TRANSFORMS
    clipping: str = "none"  # one of CLIPPING
    qkv_clip: str = "separate"  # "shared": one clip for the input of q, k and v
    layer_bits: tuple[int, ...] | None = None  # of q/k/v, o, fc1 and fc2
    activation_bits: tuple[tuple[int, int | None], ...] | None = None  # of patches, special tokens; in front of these

    def __post_init__(self):
        for field, allowed in (
            ("transforms", TRANSFORMS),
            ("clipping", CLIPPING),
            ("qkv_clip", ("separate", "shared")),
        ):
            if getattr(self, field) not in allowed:
                raise FgqError(f"{field} {getattr(self, field)!r} is unknown: choose {' or '.join(allowed)}")
        for field in ("layer_bits", "activation_bits"):
            stated = getattr(self, field)
            if stated is not None and len(stated) != len(SITES):
                raise FgqError(f"{field} are {list(stated)}: state {len(SITES)}, for q/k/v, o, fc1 and fc2")
        for site in SITES:
            self.weight_at(site), self.activation_at(site), self.special_at(site)  # whose grids check the bits

    def weight_at(self, site: Site) -> Grid:
        if self.layer_bits is None:
            return self.weight
        return replace(self.weight, bits=self.layer_bits[SITES.index(site)])

    def activation_at(self, site: Site) -> Grid:
        """Of the input at a site: of all tokens, or of the patches where `special_at` has something else."""
        if self.activation_bits is None:
            return self.activation
        return replace(self.activation, bits=self.activation_bits[SITES.index(site)][0])

    def special_at(self, site: Site) -> Grid | None:
        """Of the camera token and the registers at a site, where they have one of their own."""
        bits = None if self.activation_bits is None else self.activation_bits[SITES.index(site)][1]
        return None if bits is None else replace(self.activation, bits=bits)

    def num_clips(self, projections: tuple[str, ...]) -> int:
        """Activation quantizers in front of a linear layer that stacks these projections."""
        return len(projections) if self.qkv_clip == "separate" and self.clips_activations else 1

    @property
    def clips_weights(self) -> bool:
        return self.clipping in ("weights", "learned")

    @property
    def clips_activations(self) -> bool:
        return self.clipping in ("activations", "learned")
