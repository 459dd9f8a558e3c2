"""The dense prediction head (DPT, arXiv:2103.13413): four token levels to a map with a confidence."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from fgq.vggt.config import VGGTConfig

POSITION_RATIO = 0.1  # weight of the position embedding added to the features
POSITION_BASE = 100.0
HIDDEN_CHANNELS = 32  # of the last hidden layer, at every model size


def position_tables(
    channels: int, rows: int, columns: int, aspect: float, device=None
) -> tuple[Float[Tensor, "half {columns}"], Float[Tensor, "half {rows}"]]:
    """Sine-cosine embeddings of pixel centres on a plane of unit diagonal half-length.

    Of x [channels / 2, columns] and of y [channels / 2, rows]: the first half of the channels encodes x, the second y.
    `aspect` is the image's width over its height.
    """
    diagonal = (aspect**2 + 1) ** 0.5
    reach_x, reach_y = aspect / diagonal * (columns - 1) / columns, 1 / diagonal * (rows - 1) / rows
    frequencies = POSITION_BASE ** -(torch.arange(channels // 4, dtype=torch.float64, device=device) / (channels / 4))
    tables = []
    for reach, count in ((reach_x, columns), (reach_y, rows)):
        centres = torch.linspace(-reach, reach, count, dtype=torch.float64, device=device)
        angles = frequencies[:, None] * centres
        tables.append(torch.cat([angles.sin(), angles.cos()]).float())
    return tables[0], tables[1]


def add_positions(
    features: Float[Tensor, "frames channels rows columns"], aspect: float
) -> Float[Tensor, "frames channels rows columns"]:
    """Adds the position embedding in place: at full size a map of it would be as large as the features."""
    channels, rows, columns = features.shape[-3:]
    for_x, for_y = position_tables(channels, rows, columns, aspect, features.device)
    features[..., : channels // 2, :, :] += POSITION_RATIO * for_x.to(features.dtype)[:, None, :]
    features[..., channels // 2 :, :, :] += POSITION_RATIO * for_y.to(features.dtype)[:, :, None]
    return features


def resize(
    x: Float[Tensor, "frames channels _ _"], size: tuple[int, int]
) -> Float[Tensor, "frames channels {size[0]} {size[1]}"]:
    return functional.interpolate(x, size=size, mode="bilinear", align_corners=True)


class ResidualConvUnit(nn.Module):
    def __init__(self, features: int):
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(
        self, x: Float[Tensor, "frames features rows columns"]
    ) -> Float[Tensor, "frames features rows columns"]:
        # The skip carries relu(x), not x: the released network rectifies in place, and its weights expect that.
        x = functional.relu_(x)
        return self.conv2(functional.relu_(self.conv1(x))).add_(x)


class Fusion(nn.Module):
    """Adds a finer level to the coarser path, where there is one, refines and enlarges the sum. Changes its inputs."""

    def __init__(self, features: int, has_coarser: bool):
        super().__init__()
        self.resConfUnit1 = ResidualConvUnit(features) if has_coarser else None
        self.resConfUnit2 = ResidualConvUnit(features)
        self.out_conv = nn.Conv2d(features, features, 1)

    def forward(
        self,
        coarser: Float[Tensor, "frames features rows columns"] | None,
        finer: Float[Tensor, "frames features rows columns"],
        size: tuple[int, int],
    ) -> Float[Tensor, "frames features {size[0]} {size[1]}"]:
        total = finer if coarser is None else self.resConfUnit1(finer).add_(coarser)
        # Published order: resize, then out_conv. The two commute, since a bilinear resize mixes pixels with weights
        # that add up to 1 and out_conv mixes channels; this way round costs a quarter of the products and the memory.
        return resize(self.out_conv(self.resConfUnit2(total)), size)


class DenseHead(nn.Module):
    """Depth or point map from four layers' tokens; the last output channel becomes the confidence."""

    def __init__(self, config: VGGTConfig, out_channels: int):
        super().__init__()
        dim, features, levels = 2 * config.embed_dim, config.dpt_features, config.dpt_out_channels
        self.patch_size = config.patch_size
        self.norm = nn.LayerNorm(dim)
        self.projects = nn.ModuleList(nn.Conv2d(dim, channels, 1) for channels in levels)
        self.resize_layers = nn.ModuleList(
            [
                nn.ConvTranspose2d(levels[0], levels[0], 4, stride=4),
                nn.ConvTranspose2d(levels[1], levels[1], 2, stride=2),
                nn.Identity(),
                nn.Conv2d(levels[3], levels[3], 3, stride=2, padding=1),
            ]
        )
        self.scratch = nn.Module()  # only a name: public checkpoints keep the fusion path under it
        for level, channels in enumerate(levels, start=1):
            setattr(self.scratch, f"layer{level}_rn", nn.Conv2d(channels, features, 3, padding=1, bias=False))
            setattr(self.scratch, f"refinenet{level}", Fusion(features, has_coarser=level < 4))
        self.scratch.output_conv1 = nn.Conv2d(features, features // 2, 3, padding=1)
        self.scratch.output_conv2 = nn.Sequential(
            nn.Conv2d(features // 2, HIDDEN_CHANNELS, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(HIDDEN_CHANNELS, out_channels, 1),
        )

    def level_map(
        self, level: int, tokens: Float[Tensor, "frames {rows}*{columns} two_channels"], rows: int, columns: int
    ) -> Float[Tensor, "frames features _ _"]:
        """Patch tokens to a feature map at 4, 2, 1 or 1/2 of the patch grid."""
        grid = self.norm(tokens).transpose(1, 2).unflatten(2, (rows, columns))
        features = self.resize_layers[level](add_positions(self.projects[level](grid), columns / rows))
        return getattr(self.scratch, f"layer{level + 1}_rn")(features)

    def fuse(
        self, levels: list[Float[Tensor, "frames patches two_channels"]], rows: int, columns: int
    ) -> Float[Tensor, "frames half_features _ _"]:
        """From the coarsest level to the finest; a level's map is made when its turn comes."""
        path = None
        for level in reversed(range(len(levels))):
            scale = 2 ** (3 - level)  # of what the fusion gives, over the patch grid
            fusion = getattr(self.scratch, f"refinenet{level + 1}")
            finer = self.level_map(level, levels[level], rows, columns)
            path = fusion(path, finer, (scale * rows, scale * columns))
        return self.scratch.output_conv1(path)

    def forward(
        self, levels: list[Float[Tensor, "frames patches two_channels"]], rows: int, columns: int
    ) -> tuple[Float[Tensor, "frames height width values"], Float[Tensor, "frames height width"]]:
        """Raw values and confidence = 1 + exp(raw) > 1.

        `levels` are patch tokens of four layers, read in the head's own precision; the
        answer is float32.
        """
        levels = [tokens.to(self.norm.weight.dtype) for tokens in levels]
        features = self.fuse(levels, rows, columns)
        features = resize(features, (rows * self.patch_size, columns * self.patch_size))
        raw = self.scratch.output_conv2(add_positions(features, columns / rows)).permute(0, 2, 3, 1).float()
        return raw[..., :-1], 1 + raw[..., -1].exp()
