"""The dense prediction head (DPT, arXiv:2103.13413): four token levels to a map with a confidence."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from fgq.vggt.config import VGGTConfig

POSITION_RATIO = 0.1  # weight of the position embedding added to the features
POSITION_BASE = 100.0
HIDDEN_CHANNELS = 32  # of the last hidden layer, at every model size


def position_map(channels: int, rows: int, columns: int, aspect: float, device=None) -> Tensor:
    """Sine-cosine embedding [channels, rows, columns] of pixel centres on a plane of unit diagonal half-length.

    `aspect` is the image's width over its height; the first half of the channels encodes x, the second y.
    """
    diagonal = (aspect**2 + 1) ** 0.5
    reach_x, reach_y = aspect / diagonal * (columns - 1) / columns, 1 / diagonal * (rows - 1) / rows
    x = torch.linspace(-reach_x, reach_x, columns, dtype=torch.float64, device=device)
    y = torch.linspace(-reach_y, reach_y, rows, dtype=torch.float64, device=device)
    frequencies = POSITION_BASE ** -(torch.arange(channels // 4, dtype=torch.float64, device=device) / (channels / 4))
    angle_x, angle_y = x[None, :] * frequencies[:, None], y[None, :] * frequencies[:, None]
    along_x = torch.cat([angle_x.sin(), angle_x.cos()]).float()[:, None, :].expand(-1, rows, -1)
    along_y = torch.cat([angle_y.sin(), angle_y.cos()]).float()[:, :, None].expand(-1, -1, columns)
    return torch.cat([along_x, along_y])


def add_positions(features: Tensor, aspect: float) -> Tensor:
    channels, rows, columns = features.shape[-3:]
    positions = position_map(channels, rows, columns, aspect, features.device).to(features.dtype)
    return torch.add(features, positions, alpha=POSITION_RATIO)


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(x, size=size, mode="bilinear", align_corners=True)


class ResidualConvUnit(nn.Module):
    def __init__(self, features: int):
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        # The skip carries relu(x), not x: the released network rectifies in place, and its weights expect that.
        x = functional.relu(x)
        return x + self.conv2(functional.relu(self.conv1(x)))


class Fusion(nn.Module):
    """Adds a finer level to the coarser path, refines and enlarges the sum."""

    def __init__(self, features: int, has_finer: bool):
        super().__init__()
        self.resConfUnit1 = ResidualConvUnit(features) if has_finer else None
        self.resConfUnit2 = ResidualConvUnit(features)
        self.out_conv = nn.Conv2d(features, features, 1)

    def forward(self, coarse: Tensor, finer: Tensor | None, size: tuple[int, int]) -> Tensor:
        if finer is not None:
            coarse = coarse + self.resConfUnit1(finer)
        return self.out_conv(resize(self.resConfUnit2(coarse), size))


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
            setattr(self.scratch, f"refinenet{level}", Fusion(features, has_finer=level < 4))
        self.scratch.output_conv1 = nn.Conv2d(features, features // 2, 3, padding=1)
        self.scratch.output_conv2 = nn.Sequential(
            nn.Conv2d(features // 2, HIDDEN_CHANNELS, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(HIDDEN_CHANNELS, out_channels, 1),
        )

    def bytes_per_frame(self, height: int, width: int) -> int:
        """Of the largest feature maps of a frame that live at one time: those at the full size, before and after the
        position embedding."""
        maps = self.scratch.output_conv1
        return 2 * maps.out_channels * height * width * maps.weight.element_size()

    def pyramid(self, levels: list[Tensor], rows: int, columns: int) -> list[Tensor]:
        """Patch tokens [frames, rows * columns, 2C] of four layers to maps at 4, 2, 1 and 1/2 of the patch grid."""
        maps = []
        for tokens, project, enlarge in zip(levels, self.projects, self.resize_layers, strict=True):
            grid = self.norm(tokens).transpose(1, 2).unflatten(2, (rows, columns))
            maps.append(enlarge(add_positions(project(grid), columns / rows)))
        return maps

    def fuse(self, maps: list[Tensor]) -> Tensor:
        scratch = self.scratch
        one, two, three, four = (getattr(scratch, f"layer{i}_rn")(x) for i, x in enumerate(maps, start=1))
        path = scratch.refinenet4(four, None, three.shape[-2:])
        path = scratch.refinenet3(path, three, two.shape[-2:])
        path = scratch.refinenet2(path, two, one.shape[-2:])
        path = scratch.refinenet1(path, one, (2 * one.shape[-2], 2 * one.shape[-1]))
        return scratch.output_conv1(path)

    def forward(self, levels: list[Tensor], rows: int, columns: int) -> tuple[Tensor, Tensor]:
        """Raw values [frames, H, W, out_channels - 1] and confidence [frames, H, W] = 1 + exp(raw) > 1."""
        features = self.fuse(self.pyramid(levels, rows, columns))
        features = resize(features, (rows * self.patch_size, columns * self.patch_size))
        raw = self.scratch.output_conv2(add_positions(features, columns / rows)).permute(0, 2, 3, 1).float()
        return raw[..., :-1], 1 + raw[..., -1].exp()
