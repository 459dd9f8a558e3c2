"""Image files to tensors, and the crop or padding that fits them to the model's patches."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from fgq.data.reading import existing
from fgq.data.sequence import fault
from fgq.errors import FgqError

HEIC_SUFFIXES = (".heic", ".heif")
SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".jp2", ".avif")
SUFFIXES += (".ppm", ".pgm", ".pnm", ".tga", *HEIC_SUFFIXES)
LONGEST_SIDE = 16_384  # pixels for a model; more is a slip of the keyboard
MODES = ("crop", "pad")


@dataclass(frozen=True)
class Crop:
    """A resize, then a centred window; pixel (x, y) of the file ends at (x * scale_x - left, y * scale_y - top).

    Where the window is larger than the resized image, top and left are negative and the rest of the window is white.
    """

    resized: tuple[int, int]  # height, width
    window: tuple[int, int]  # height, width
    scale: tuple[float, float]  # along y, along x

    @property
    def top(self) -> int:
        return first_pixel(self.resized[0], self.window[0])

    @property
    def left(self) -> int:
        return first_pixel(self.resized[1], self.window[1])

    def covered(self) -> Tensor:
        """Which pixels of the window show the image, not padding: bool [H, W]."""
        height, width = self.window
        inside = torch.zeros(height, width, dtype=torch.bool)
        rows = slice(max(0, -self.top), min(height, self.resized[0] - self.top))
        columns = slice(max(0, -self.left), min(width, self.resized[1] - self.left))
        inside[rows, columns] = True
        return inside

    def to_file(self, pixels: Tensor) -> Tensor:
        """(x, y) in the window to (x, y) in the file's upright image: [..., 2]; both count from a corner."""
        return (pixels + pixels.new_tensor([self.left, self.top])) / pixels.new_tensor(self.scale[::-1])

    def file_intrinsics(self, intrinsics: Tensor) -> Tensor:
        """Intrinsics [..., 3, 3] of the window as those of the file's upright image; the principal point moves too."""
        focal = intrinsics[..., :2, :2] / intrinsics.new_tensor(self.scale[::-1])[:, None]
        centre = self.to_file(intrinsics[..., :2, 2])[..., None]
        return torch.cat([torch.cat([focal, centre], dim=-1), intrinsics[..., 2:, :]], dim=-2)


def first_pixel(resized: int, window: int) -> int:
    """Where a centred window starts; of an odd rest, the public VGGT cuts or pads the smaller half first."""
    return (resized - window) // 2 if resized >= window else -((window - resized) // 2)


def resized_crop(height: int, width: int, resized: tuple[int, int], window: tuple[int, int]) -> Crop:
    return Crop(resized, window, (resized[0] / height, resized[1] / width))


def crop_to_width(height: int, width: int, target: int, patch_size: int) -> Crop:
    """The public VGGT's "crop": width to `target`, height to the nearest multiple of the patch, at most `target`.

    All in pixels. Raises FgqError for a target that the patches do not tile.
    """
    check_target(target, patch_size)
    tall = whole_patches(height * (target / width), patch_size)
    return resized_crop(height, width, (tall, target), (min(tall, target), target))


def pad_to_square(height: int, width: int, target: int, patch_size: int) -> Crop:
    """The public VGGT's "pad": longer side to `target`, the other to the nearest multiple of the patch, then white.

    In pixels; raises as `crop_to_width`.
    """
    check_target(target, patch_size)
    scale = target / max(height, width)
    resized = tuple(whole_patches(side * scale, patch_size) for side in (height, width))
    return resized_crop(height, width, resized, (target, target))


def check_sides(size: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width in pixels. Raises FgqError unless `size` is a side, or two, of 1 to LONGEST_SIDE pixels."""
    sides = tuple(size) if isinstance(size, tuple | list) else (size, size)
    if len(sides) != 2 or not all(isinstance(side, int) and not isinstance(side, bool) and side >= 1 for side in sides):
        raise FgqError(f"size must be a number of pixels or (height, width), got {size!r}")
    if max(sides) > LONGEST_SIDE:
        raise FgqError(f"size {size} is more than {LONGEST_SIDE} pixels, the longest side: ask for less")
    return sides


def check_target(target: int, patch_size: int) -> None:
    if patch_size < 1 or target < 1 or target % patch_size:
        raise FgqError(f"size {target} is not a multiple of the patch size {patch_size}: change size or patch_size")


def whole_patches(length: float, patch_size: int) -> int:
    return max(1, round(length / patch_size)) * patch_size


def crop_to_size(height: int, width: int, size: tuple[int, int]) -> Crop:
    """Scaled alike along both sides until `size` (height, width) is covered, then cut; pixels."""
    scale = max(size[0] / height, size[1] / width)
    return resized_crop(height, width, (max(size[0], round(height * scale)), max(size[1], round(width * scale))), size)


def pad_to_size(height: int, width: int, size: tuple[int, int]) -> Crop:
    """Scaled alike along both sides until it fits into `size` (height, width), the rest white; pixels."""
    scale = min(size[0] / height, size[1] / width)
    resized = (min(size[0], max(1, round(height * scale))), min(size[1], max(1, round(width * scale))))
    return resized_crop(height, width, resized, size)


def choose_crop(height: int, width: int, size: int | tuple[int, int], patch_size: int, mode: str) -> Crop:
    """The crop of `mode` for an image of height × width; `size` is a width or longer side, or (height, width).

    Raises FgqError for an unknown mode and sizes that the patches do not tile.
    """
    if mode not in MODES:
        raise FgqError(f"mode {mode!r} is not one of {', '.join(MODES)}")
    check_sides(size)
    if isinstance(size, int):
        return (crop_to_width if mode == "crop" else pad_to_square)(height, width, size, patch_size)
    for side in size:
        check_target(side, patch_size)
    return (crop_to_size if mode == "crop" else pad_to_size)(height, width, tuple(size))


def open_image(path: Path) -> Image.Image:
    """An RGB image as a viewer shows it: turned by its EXIF tag, alpha laid over white, 16 bits brought to 8.

    Raises OSError (PIL's UnidentifiedImageError among them) for a file that is no image, and FgqError for what is no
    file, pixels without a known white, and HEIC without the package that reads it.
    """
    existing(path)
    if path.suffix.lower() in HEIC_SUFFIXES:
        try:
            from pillow_heif import register_heif_opener
        except ModuleNotFoundError as error:
            told = "HEIC photos need the package pillow-heif: pip install pillow-heif, or save them as JPEG"
            raise fault(path, told, FgqError) from error
        register_heif_opener()
    with Image.open(path) as file:
        image = ImageOps.exif_transpose(file)
        image.load()
    return to_rgb(image)


def to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise FgqError("floating-point pixels, of which nobody knows what is white: save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        levels = np.asarray(image).astype(np.int64)
        if levels.min() < 0 or levels.max() > 65535:
            raise FgqError("pixels of 32 bits, of which nobody knows what is white: save it with 8 or 16 bits")
        return Image.fromarray((levels // 257).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def to_tensor(image: Image.Image, crop: Crop) -> Tensor:
    """An RGB image resized, cut and padded with white: [3, H, W] in [0, 1]."""
    resized = image.resize(crop.resized[::-1], Image.Resampling.BICUBIC)
    window = Image.new("RGB", crop.window[::-1], "white")
    window.paste(resized, (-crop.left, -crop.top))
    return torch.from_numpy(np.array(window)).permute(2, 0, 1).float() / 255
