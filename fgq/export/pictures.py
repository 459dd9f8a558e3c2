"""The pictures that cameras refer to, as files with names that every reader can take."""

import re
import shutil
from pathlib import Path

from PIL import Image

from fgq.data.photos import Source
from fgq.data.scene import Scene
from fgq.errors import FgqError
from fgq.export.reconstruction import Reconstruction
from fgq.writing import check_name, whole_folder

ORIENTATION = 274  # the EXIF tag
SIZES = ("photo", "model")


def picture_names(sources: list[str], size: str) -> list[str]:
    """File names for pictures: without spaces and escapes, and .jpg, .jpeg or .png.

    Raises FgqError where two would be the same.
    """
    names = [re.sub(r"\\udc[0-9a-f]{2}|[\s\\\ud800-\udfff]", "_", name) for name in sources]
    if size == "model":
        names = [f"{Path(name).stem}.png" for name in names]
    else:
        names = [name if Path(name).suffix.lower() in (".jpg", ".jpeg", ".png") else f"{name}.png" for name in names]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise FgqError(f"several pictures would be called {', '.join(doubled)}: rename or leave out all but one each")
    return names


def write_photos(scene: Reconstruction, names: list[str], folder: Path) -> None:
    """Every photo upright and at its own size: the file itself where it is so already, else written anew."""
    folder.mkdir()
    photos = scene.photos
    upright = [is_upright(source) for source in photos.sources]
    for source, name, same in zip(photos.sources, names, upright, strict=True):
        if same:
            shutil.copyfile(source.path, folder / name)
    if not all(upright):
        for image, name, same in zip(photos.full_size(), names, upright, strict=True):
            if not same:
                image.save(folder / name, quality=95)


def is_upright(source: Source) -> bool:
    """Whether a file shows every reader what `open_image` gives: JPEG or PNG, RGB, no turn."""
    if source.time is not None or source.path.suffix.lower() not in (".jpg", ".jpeg", ".png"):
        return False
    with Image.open(source.path) as file:
        turned = file.getexif().get(ORIENTATION, 1) != 1
        return file.format in ("JPEG", "PNG") and file.mode == "RGB" and not turned and not file.has_transparency_data


def write_model_images(scene: Reconstruction, names: list[str], folder: Path) -> None:
    """The pictures as the model saw them, cropped and padded, as PNG."""
    folder.mkdir()
    for image, name in zip(scene.photos.images, names, strict=True):
        write_tensor(image, folder / name)


def write_scene(scene: Scene, folder: str | Path) -> list[Path]:
    """The images of a scene as numbered PNG files in a new folder; raises FgqError as `fgq.writing.whole_folder`."""
    names = [f"{frame:04d}.png" for frame in range(scene.num_frames)]
    with whole_folder(folder, "the pictures") as part:
        for image, name in zip(scene.images, names, strict=True):
            write_tensor(image, part / name)
    return [check_name(folder) / name for name in names]


def write_tensor(image, path: Path) -> None:
    pixels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0)
    Image.fromarray(pixels.cpu().numpy()).save(path)
