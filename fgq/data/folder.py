"""Any folder of images as one scene, without ground truth."""

from dataclasses import replace
from pathlib import Path

from PIL import Image
from torch import Tensor, stack

from fgq.data.images import crop_to_size, crop_to_width, open_image, to_tensor
from fgq.data.scene import Scene
from fgq.errors import FgqError

NAMED_AT_MOST = 5  # files that an error message names before it only counts


def load(
    root: str | Path | None = None,
    frames: int | None = None,
    size: int | tuple[int, int] = 518,
    patch_size: int = 14,
) -> list[Scene]:
    """The images of folder `root` in the order of their names: one scene, images [S, 3, H, W] in [0, 1].

    `size` is the width in pixels, the height then a multiple of `patch_size` by the aspect (the smallest one where
    images differ), or (height, width). `frames` spreads that many over the folder instead of taking all. Hidden files
    are passed over. Raises FgqError for a missing or empty folder, too few images, and files that are no images (all
    named at once).
    """
    if root is None:
        raise FgqError('the dataset "folder" needs root=, the folder that holds the images')
    root = Path(root).expanduser()
    if not root.is_dir():
        raise FgqError(f"{root}: no such folder of images")
    paths = sorted(path for path in root.iterdir() if path.is_file() and not path.name.startswith("."))
    if not paths:
        raise FgqError(f"{root}: holds no images")
    if frames is not None:
        paths = spread(paths, frames, root)
    return [Scene(name=root.resolve().name, images=fit(open_all(paths, root), size, patch_size), dataset="folder")]


def spread(paths: list[Path], frames: int, root: Path) -> list[Path]:
    """`frames` of the files at even steps, the first included."""
    if frames > len(paths):
        raise FgqError(f"{root}: {frames} frames asked for, but the folder holds {len(paths)} files")
    return [paths[i * len(paths) // frames] for i in range(frames)]


def open_all(paths: list[Path], root: Path) -> list[Image.Image]:
    images, bad = [], []
    for path in paths:
        try:
            images.append(open_image(path))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):  # what PIL raises for a broken file
            bad.append(path.name)
    if bad:
        more = ", …" if len(bad) > NAMED_AT_MOST else ""
        named = ", ".join(bad[:NAMED_AT_MOST]) + more
        raise FgqError(
            f"{root}: {len(bad)} of {len(paths)} files are not readable images ({named}): take them out of the folder"
        )
    return images


def fit(images: list[Image.Image], size: int | tuple[int, int], patch_size: int) -> Tensor:
    """Images of any sizes to one size: [S, 3, H, W] in [0, 1]."""
    if isinstance(size, int):
        crops = [crop_to_width(image.height, image.width, size, patch_size) for image in images]
        lowest = min(crop.window[0] for crop in crops)
        crops = [replace(crop, window=(lowest, size)) for crop in crops]
    else:
        crops = [crop_to_size(image.height, image.width, size) for image in images]
    return stack([to_tensor(image, crop) for image, crop in zip(images, crops, strict=True)])
