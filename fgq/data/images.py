"""Image files to tensors, and the crop that fits them to the model's patches."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from fgq.errors import FgqError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")


@dataclass(frozen=True)
class Crop:
    """A resize, then a centred window; pixel (x, y) of the file ends at (x * scale_x - left, y * scale_y - top)."""

    resized: tuple[int, int]  # height, width
    window: tuple[int, int]  # height, width
    scale: tuple[float, float]  # along y, along x

    @property
    def top(self) -> int:
        return (self.resized[0] - self.window[0]) // 2

    @property
    def left(self) -> int:
        return (self.resized[1] - self.window[1]) // 2


def crop_to_width(height: int, width: int, target: int, patch_size: int) -> Crop:
    """The public VGGT's "crop": width to `target`, height to the nearest multiple of the patch, at most `target`.

    All in pixels. Raises FgqError for a target that the patches do not tile.
    """
    if patch_size < 1 or target < 1 or target % patch_size:
        raise FgqError(f"size {target} is not a multiple of the patch size {patch_size}: change size or patch_size")
    tall = max(1, round(height * target / width / patch_size)) * patch_size
    return Crop((tall, target), (min(tall, target), target), (tall / height, target / width))


def crop_to_size(height: int, width: int, size: tuple[int, int]) -> Crop:
    """Scaled alike along both sides until `size` (height, width) is covered, then cut; pixels."""
    scale = max(size[0] / height, size[1] / width)
    resized = max(size[0], round(height * scale)), max(size[1], round(width * scale))
    return Crop(resized, size, (resized[0] / height, resized[1] / width))


def open_image(path: Path) -> Image.Image:
    """An RGB image as a viewer shows it: turned by its EXIF tag, alpha laid over white, 16 bits brought to 8.

    Raises OSError (PIL's UnidentifiedImageError among them) for a file that is no image.
    """
    with Image.open(path) as file:
        image = ImageOps.exif_transpose(file)
        image.load()
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image) // 257).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def to_tensor(image: Image.Image, crop: Crop) -> Tensor:
    """An RGB image resized and cut: [3, H, W] in [0, 1]."""
    height, width = crop.window
    resized = image.resize(crop.resized[::-1], Image.Resampling.BICUBIC)
    cut = resized.crop((crop.left, crop.top, crop.left + width, crop.top + height))
    return torch.from_numpy(np.array(cut)).permute(2, 0, 1).float() / 255
