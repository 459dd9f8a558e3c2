"""Every size of a VGGT in one place."""

from collections.abc import Sequence

from transformers import PretrainedConfig

from fgq.errors import FgqError


class VGGTConfig(PretrainedConfig):
    """Sizes of a Visual Geometry Grounded Transformer; the defaults are VGGT-1B's.

    One (frame, global) pair of blocks is one layer, so `depth` layers hold `2 * depth` blocks.
    Raises FgqError for sizes that cannot fit together. Source: arXiv:2503.11651, section 3 and appendix.
    """

    model_type = "vggt"

    def __init__(
        self,
        img_size: int = 518,  # pixels; the position embedding is a square grid of img_size // patch_size
        patch_size: int = 14,  # pixels a side
        embed_dim: int = 1024,  # channels of a token; the heads read 2 * embed_dim (frame and global output)
        depth: int = 24,  # alternating-attention layers: `depth` frame blocks and as many global blocks
        num_heads: int = 16,  # attention heads of encoder, aggregator and camera head alike
        encoder_depth: int = 24,  # blocks of the DINOv2 encoder
        num_register_tokens: int = 4,  # a frame, in the encoder and again in the aggregator
        camera_trunk_depth: int = 4,  # blocks of the camera head, which runs four times
        dpt_features: int = 256,  # channels of the dense heads' fusion path
        dpt_out_channels: Sequence[int] = (256, 512, 1024, 1024),  # channels of the four levels before fusion
        dpt_layers: Sequence[int] | None = (4, 11, 17, 23),  # which layers the dense heads read; None spreads four
        **kwargs,
    ):
        self.img_size = img_size
        self.patch_size = patch_size
        self.embed_dim = embed_dim
        self.depth = depth
        self.num_heads = num_heads
        self.encoder_depth = encoder_depth
        self.num_register_tokens = num_register_tokens
        self.camera_trunk_depth = camera_trunk_depth
        self.dpt_features = dpt_features
        self.dpt_out_channels = list(dpt_out_channels)
        self.dpt_layers = list(dpt_layers) if dpt_layers is not None else spread_layers(depth)
        check_sizes(self)
        super().__init__(**kwargs)

    @property
    def num_special_tokens(self) -> int:
        """Tokens of a frame before its patches: one camera token and the registers."""
        return 1 + self.num_register_tokens

    @property
    def num_blocks(self) -> int:
        return 2 * self.depth

    @property
    def block_names(self) -> list["BlockName"]:
        """F0, G0, F1, G1, … in running order."""
        return [BlockName(f"{kind}{layer}") for layer in range(self.depth) for kind in "FG"]


class BlockName(str):
    """Such as F0 or G3: attention within each frame or over all frames of a clip, and the layer."""

    @property
    def is_global(self) -> bool:
        return self.startswith("G")

    @property
    def layer(self) -> int:
        return int(self[1:])


def spread_layers(depth: int) -> list[int]:
    """Four layers for the dense heads at the published fractions of the depth, the last one included."""
    return [min(depth - 1, max(0, round(depth * fraction) - 1)) for fraction in (5 / 24, 12 / 24, 18 / 24, 1)]


def check_sizes(config: VGGTConfig) -> None:
    if config.embed_dim % config.num_heads:
        raise FgqError(f"embed_dim {config.embed_dim} is not a multiple of num_heads {config.num_heads}")
    if (config.embed_dim // config.num_heads) % 4:
        raise FgqError(
            f"each head has {config.embed_dim // config.num_heads} channels; the two-axis rotary embedding needs "
            "a multiple of 4: change embed_dim or num_heads"
        )
    if config.img_size % config.patch_size:
        raise FgqError(f"img_size {config.img_size} is not a multiple of patch_size {config.patch_size}")
    if len(config.dpt_layers) != 4 or len(config.dpt_out_channels) != 4:
        raise FgqError("dpt_layers and dpt_out_channels need four entries each, one a level of the dense heads")
    outside = [layer for layer in config.dpt_layers if not 0 <= layer < config.depth]
    if outside:
        raise FgqError(f"dpt_layers {outside} do not exist in a model of depth {config.depth}")
