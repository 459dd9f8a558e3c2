"""Files of a download: folders, text, numbers and images, with one line that names the path when one is wrong."""

import hashlib
import os
import stat
from collections import defaultdict
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from fgq.data.sequence import SequenceError, shown

IMAGE_MODES = ("RGB", "RGBA")  # a grey image in the place of a photograph is a mask or a depth map

KINDS = {
    stat.S_ISDIR: "a folder",
    stat.S_ISFIFO: "a pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}
NAMED = 3  # missing files that a message names


def list_names(folder: Path) -> list[str]:
    """Sorted names in a folder, hidden ones left out. Raises SequenceError."""
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError as error:
        raise SequenceError(f"{shown(folder)}: this folder cannot be read ({error.strerror})") from None


def list_folders(folder: Path) -> list[str]:
    """Sorted names of folders, and of links that lead nowhere: what they stood for must not vanish in silence."""
    return [name for name in list_names(folder) if os.path.isdir(folder / name) or not os.path.exists(folder / name)]


def existing(path: Path) -> Path:
    """The path of a regular file: a pipe would be waited for forever, a loop of links has no content."""
    if not os.path.isfile(path):
        raise SequenceError(f"{shown(path)}: {state_of(path)}")
    return path


def state_of(path: Path) -> str:
    """What stands where a file should be."""
    if not os.path.lexists(path):
        return "no such file"
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return "is a link that leads nowhere"
    return f"is {next((what for test, what in KINDS.items() if test(mode)), 'something else')}, not a file"


def refuse_missing(folder: Path, wanted: Iterable[str], there: Iterable[str]) -> None:
    """Raises SequenceError with the first of the wanted names that are not there; `wanted` may be endless."""
    present = set(there)
    missing = list(islice((name for name in wanted if name not in present), NAMED + 1))
    if missing:
        more = " and more" if len(missing) > NAMED else ""
        verb = "is" if len(missing) == 1 else "are"
        raise SequenceError(f"{shown(folder)}: {', '.join(missing[:NAMED])}{more} {verb} missing")


def find_copies(folder: Path, names: list[str]) -> list[str]:
    """Those of a folder's files that have the very content of another one: two pictures of a camera never do.

    Only files of one size are read. Raises SequenceError for a file that cannot be read.
    """
    by_size, by_content = defaultdict(list), defaultdict(list)
    for name in names:
        by_size[os.path.getsize(existing(folder / name))].append(name)
    for group in by_size.values():
        for name in group if len(group) > 1 else ():
            by_content[hashlib.sha256(read_bytes(folder / name)).digest()].append(name)
    return sorted(name for group in by_content.values() if len(group) > 1 for name in group)


def read_bytes(path: Path) -> bytes:
    try:
        return existing(path).read_bytes()
    except OSError as error:
        raise SequenceError(f"{shown(path)}: cannot be read ({error.strerror})") from None


def read_text(path: Path) -> str:
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SequenceError(f"{shown(path)}: is no text ({error.reason} at byte {error.start})") from None


def to_numbers(words: list[str] | list, count: int, where: str) -> np.ndarray:
    """Exactly `count` finite numbers. Raises SequenceError that begins with `where`."""
    try:
        values = np.array([float(word) for word in words], dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise SequenceError(f"{where}: holds something that is no number") from None
    if len(values) != count:
        raise SequenceError(f"{where}: holds {len(values)} numbers, expected {count}")
    if not np.isfinite(values).all():
        raise SequenceError(f"{where}: holds NaN or infinity")
    return values


def read_numbers(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """A text file that holds nothing but the numbers of one array."""
    return to_numbers(read_text(path).split(), int(np.prod(shape)), shown(path)).reshape(shape)


def open_stored(path: Path, modes: tuple[str, ...], what: str) -> Image.Image:
    """An image file as stored, checksums of PNG included. Raises SequenceError for another kind of file."""
    existing(path)
    try:
        with Image.open(path) as file:
            file.verify()
        with Image.open(path) as file:
            file.load()
            image = file.copy()
    except Exception as error:  # PIL's decoders raise nearly everything for a broken file
        raise SequenceError(f"{shown(path)}: is no readable image ({type(error).__name__}: {error})") from None
    if image.mode not in modes:
        raise SequenceError(f"{shown(path)}: is no {what} (its pixels are {image.mode})")
    return image


def read_image(path: Path) -> Image.Image:
    """An RGB image with the pixels as stored: calibration is for those, whatever an EXIF tag says of turning them."""
    return open_stored(path, IMAGE_MODES, "colour image").convert("RGB")


def read_mask(path: Path, threshold: int = 0) -> np.ndarray:
    """[H, W] bool: where a grey image of 8 bits (or 1) is above `threshold`."""
    return np.asarray(open_stored(path, ("1", "L", "P"), "mask").convert("L")) > threshold
