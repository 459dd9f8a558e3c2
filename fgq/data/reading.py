"""Files of a download: folders, text, numbers, images, depth; where one is wrong, one line names its path."""

import hashlib
import os
import stat
from collections import defaultdict
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from fgq.data.sequence import DepthMap, fault

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
        raise fault(folder, f"this folder cannot be read ({error.strerror})") from None


def list_folders(folder: Path) -> list[str]:
    """Sorted names of folders, and of links that lead nowhere: what they stood for must not vanish in silence."""
    return [name for name in list_names(folder) if os.path.isdir(folder / name) or not os.path.exists(folder / name)]


def existing(path: Path) -> Path:
    """The path of a regular file: a pipe would be waited for forever, a loop of links has no content."""
    if not os.path.isfile(path):
        raise fault(path, state_of(path))
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


def refuse_missing(folder: Path, wanted: Iterable[str]) -> None:
    """Raises SequenceError with the first of the wanted names that are not in the folder; `wanted` may be endless."""
    present = set(list_names(folder))
    missing = list(islice((name for name in wanted if name not in present), NAMED + 1))
    if missing:
        more = " and more" if len(missing) > NAMED else ""
        raise fault(folder, f"{', '.join(missing[:NAMED])}{more} {'is' if len(missing) == 1 else 'are'} missing")


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
        raise fault(path, f"cannot be read ({error.strerror})") from None


def read_text(path: Path) -> str:
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise fault(path, f"is no text ({error.reason} at byte {error.start})") from None


def to_numbers(words: list, count: int, where: str | Path) -> np.ndarray:
    """Exactly `count` finite numbers. Raises SequenceError that begins with `where`."""
    try:
        values = np.array([float(word) for word in words], dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise fault(where, "holds something that is no number") from None
    if len(values) != count:
        raise fault(where, f"holds {len(values)} numbers, expected {count}")
    if not np.isfinite(values).all():
        raise fault(where, "holds NaN or infinity")
    return values


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
        raise fault(path, f"is no readable image ({type(error).__name__}: {error})") from None
    if image.mode not in modes:
        raise fault(path, f"is no {what} (its pixels are {image.mode})")
    return image


def read_image(path: Path, size: tuple[int, int] | None = None, source: str = "the calibration is for") -> Image.Image:
    """An RGB image with the pixels as stored: calibration is for those, whatever an EXIF tag says of turning them.

    Raises SequenceError where its width and height are not the `size` that `source` states.
    """
    image = open_stored(path, IMAGE_MODES, "colour image").convert("RGB")
    if size not in (None, image.size):
        raise fault(path, f"has {image.width} × {image.height} pixels, {source} {size[0]} × {size[1]}")
    return image


def read_mask(path: Path, shape: tuple[int, int], threshold: int = 0) -> np.ndarray:
    """Where a grey image of 8 bits (or 1) is above `threshold`: bool, of the depth map's `shape` [H, W]."""
    mask = np.asarray(open_stored(path, ("1", "L", "P"), "mask").convert("L")) > threshold
    if mask.shape != shape:
        raise fault(path, "this mask has another size than the depth map")
    return mask


def read_png16(path: Path) -> np.ndarray:
    """The codes [H, W], uint16, of a grey PNG of 16 bits. Raises SequenceError for other images."""
    codes = np.asarray(open_stored(path, ("I;16", "I;16B", "I;16L", "I"), "grey image of 16 bits"))
    if codes.min() < 0 or codes.max() > 65535:
        raise fault(path, f"is no grey image of 16 bits (it holds {codes.min()} to {codes.max()})")
    return codes.astype(np.uint16)


def coded_depth(path: Path, codes_a_unit: int, unknown: tuple[int, ...] = (0,)) -> DepthMap:
    """Depth of a grey PNG of 16 bits, of which `codes_a_unit` make one unit of length; `unknown` codes say nothing."""
    codes = read_png16(path)
    valid = ~np.isin(codes, unknown)
    return DepthMap(np.where(valid, codes / codes_a_unit, 0).astype(np.float32), valid)


def read_pfm(path: Path) -> np.ndarray:
    """[H, W] float32 of a grey portable float map; its rows go from the bottom up, a negative scale is little-endian.

    Raises SequenceError for colour maps and for files that are shorter or longer than they say.
    """
    parts = read_bytes(path).split(b"\n", 3)
    try:
        kind, size, scale, body = parts
        width, height = map(int, size.split())
        scale = float(scale)
    except ValueError:
        raise fault(path, "is no PFM file") from None
    if kind.strip() != b"Pf" or width < 1 or height < 1:
        raise fault(path, "is no grey PFM file")
    if scale == 0 or not np.isfinite(scale):
        raise fault(path, f"its scale {scale} says nothing of the byte order")
    return to_floats(body, (height, width), path, "<" if scale < 0 else ">")[::-1]


def to_floats(body: bytes, shape: tuple[int, int], path: Path, order: str = "<") -> np.ndarray:
    """Bytes that are nothing but floats [H, W], row by row, little-endian unless told. Raises SequenceError."""
    height, width = shape
    size = 4 * height * width
    if len(body) != size:
        raise fault(path, f"holds {len(body)} bytes of depth, but {width} × {height} pixels take {size}")
    return np.frombuffer(body, f"{order}f4").astype(np.float32).reshape(shape)
