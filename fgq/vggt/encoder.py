"""The patch encoder: a DINOv2 vision transformer with registers (arXiv:2304.07193, arXiv:2309.16588)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from fgq.vggt.attention import Block
from fgq.vggt.config import VGGTConfig


class PatchEmbed(nn.Module):
    """Images to patch tokens, row by row."""

    def __init__(self, patch_size: int, dim: int):
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch_size, stride=patch_size)

    def forward(self, images: Float[Tensor, "frames 3 height width"]) -> Float[Tensor, "frames patches channels"]:
        return self.proj(images).flatten(2).transpose(1, 2)


class Encoder(nn.Module):
    """Normalised images to normalised patch tokens."""

    def __init__(self, config: VGGTConfig):
        super().__init__()
        dim = config.embed_dim
        self.patch_size = config.patch_size
        self.grid = config.img_size // config.patch_size
        self.num_prefix = 1 + config.num_register_tokens
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.grid**2, dim))
        self.register_tokens = nn.Parameter(torch.zeros(1, config.num_register_tokens, dim))
        self.mask_token = nn.Parameter(torch.zeros(1, dim))  # only pre-training reads it; public checkpoints carry it
        self.patch_embed = PatchEmbed(config.patch_size, dim)
        self.blocks = nn.ModuleList(
            Block(dim, config.num_heads, layer_scale=1.0, eps=1e-6) for _ in range(config.encoder_depth)
        )
        self.norm = nn.LayerNorm(dim, eps=1e-6)

    def position_embedding(
        self, rows: int, columns: int
    ) -> tuple[Float[Tensor, "1 1 channels"], Float[Tensor, "1 {rows}*{columns} channels"]]:
        """For the class token and for a grid of patches."""
        for_class, for_patches = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        if (rows, columns) == (self.grid, self.grid):
            return for_class, for_patches
        square = for_patches.unflatten(1, (self.grid, self.grid)).permute(0, 3, 1, 2)
        resized = functional.interpolate(
            square.float(), size=(rows, columns), mode="bicubic", antialias=True, align_corners=False
        )
        return for_class, resized.flatten(2).transpose(1, 2).to(for_patches.dtype)

    def forward(self, images: Float[Tensor, "frames 3 height width"]) -> Float[Tensor, "frames patches channels"]:
        rows, columns = (side // self.patch_size for side in images.shape[-2:])
        for_class, for_patches = self.position_embedding(rows, columns)
        patches = self.patch_embed(images) + for_patches
        prefix = torch.cat([self.cls_token + for_class, self.register_tokens], dim=1)
        x = torch.cat([prefix.expand(len(patches), -1, -1).to(patches.dtype), patches], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)[:, self.num_prefix :]
