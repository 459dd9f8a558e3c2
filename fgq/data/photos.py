"""Picture files of any sizes, and frames of videos, as one clip that a model can take."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from PIL import Image, UnidentifiedImageError
from torch import Tensor, stack
from torch.nn import functional

from fgq.data import video
from fgq.data.images import SUFFIXES, Crop, choose_crop, open_image, to_tensor
from fgq.data.reading import list_names, state_of
from fgq.data.sequence import fault, shown
from fgq.errors import FgqError

BROKEN = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # what PIL raises for a file that is none
NAMED = 3  # strays that a message names


class StrayFiles(UserWarning):
    """Files of a folder that are no pictures or videos by their names were left out."""


@dataclass(frozen=True)
class Source:
    """Where one picture comes from: an image file, or the frame of a video at a presentation time."""

    path: Path
    time: int | None = None  # ticks of the video's stream
    number: int = 0  # of the frame among those taken from its video

    @property
    def name(self) -> str:
        """That can be printed and stored, whatever bytes the file's own name has."""
        return shown(self.path.name) if self.time is None else f"{shown(self.path.stem)}_{self.number:04d}.png"


@dataclass(frozen=True)
class Photos:
    """S pictures fitted to one size. `crops` lead from each picture's own upright pixels to the model's."""

    sources: tuple[Source, ...]
    sizes: tuple[tuple[int, int], ...]  # height, width of each upright picture
    crops: tuple[Crop, ...]
    images: Tensor  # [S, 3, H, W] in [0, 1]

    @property
    def names(self) -> list[str]:
        return [source.name for source in self.sources]

    def covered(self) -> Tensor:
        """Which pixels show a picture, not white padding: bool [S, H, W]."""
        return stack([crop.covered() for crop in self.crops])

    def full_size(self) -> Iterator[Image.Image]:
        """The pictures again, upright, RGB, at their own sizes, one at a time."""
        for path, group in groupby(self.sources, key=lambda source: source.path):
            yield from open_sources(path, list(group))


def find_sources(places: list[str | Path], rate: float = video.RATE) -> list[Source]:
    """The pictures of folders (in the order of their file names), image files and videos (`rate` frames a second).

    Hidden files are passed over; what is no picture or video by its name is left out of a folder, and StrayFiles
    warns of it. Raises FgqError for a place that does not exist or holds nothing else, and videos that cannot be read.
    """
    sources = []
    for place in places:
        place = Path(place).expanduser()
        if not place.is_dir() and not place.is_file():
            state = state_of(place)
            told = "no such folder of images, image or video" if state == "no such file" else state
            raise fault(place, told, FgqError)
        for path in list_pictures(place) if place.is_dir() else [place]:
            if path.suffix.lower() in video.SUFFIXES:
                times = video.frame_times(path, rate)
                sources += [Source(path, time, number) for number, time in enumerate(times)]
            else:
                sources.append(Source(path))
    return sources


def list_pictures(folder: Path) -> list[Path]:
    """Pictures and videos by their names, in that order. Warns of strays; raises FgqError where there is nothing else.

    What has such a name and is a pipe or a link to nowhere is kept, so that reading tells of it.
    """
    names = list_names(folder)
    pictures = [name for name in names if is_picture(name)]
    strays = [name for name in names if not is_picture(name)]
    some = ", ".join(map(shown, strays[:NAMED])) + (", …" if len(strays) > NAMED else "")
    if not pictures:
        found = f": {some}: {count(strays)} no picture or video by name" if strays else ""
        raise fault(folder, f"holds no images{found}", FgqError)
    if strays:
        told = f"{shown(folder)}: {count(strays)} no picture or video by name and left out: {some}"
        warnings.warn(told, StrayFiles, stacklevel=4)
    return [folder / name for name in pictures]


def is_picture(name: str) -> bool:
    return Path(name).suffix.lower() in (*SUFFIXES, *video.SUFFIXES)


def count(files: list[str]) -> str:
    return "1 entry is" if len(files) == 1 else f"{len(files)} entries are"


def spread(sources: list[Source], frames: int) -> list[Source]:
    """`frames` of the pictures at even steps, the first included."""
    if not 1 <= frames <= len(sources):
        told = f"{frames} frames asked for, but there are {len(sources)} pictures"
        raise fault(sources[0].path.parent, told, FgqError)
    return [sources[i * len(sources) // frames] for i in range(frames)]


def read_photos(
    sources: list[Source], size: int | tuple[int, int] = 518, patch_size: int = 14, mode: str = "crop"
) -> Photos:
    """Pictures to one clip by the public VGGT's preprocessing; one at a time is in memory at its own size.

    `mode` "crop": width to `size`, height to a multiple of `patch_size` by the aspect and cut in the middle to at most
    `size`; "pad": longer side to `size`, white to a square. Where heights still differ, the lower images get white
    above and below. `size` (height, width) is covered and cut ("crop") or filled up with white ("pad").
    Raises FgqError that names all files that are no readable images, and sizes that the patches do not tile.
    """
    choose_crop(1, 1, size, patch_size, mode)  # a bad size is not the fault of a file
    sizes, crops, images, bad = [], [], [], {}
    for path, group in groupby(sources, key=lambda source: source.path):
        try:
            for image in open_sources(path, list(group)):
                crop = choose_crop(image.height, image.width, size, patch_size, mode)
                sizes.append((image.height, image.width))
                crops.append(crop)
                images.append(to_tensor(image, crop))
        except BROKEN as error:
            bad[path] = reason(path, error)
    if bad:
        raise FgqError(describe_bad(bad, {source.path for source in sources}))
    window = max(crop.window[0] for crop in crops), max(crop.window[1] for crop in crops)
    padded = [replace(crop, window=window) for crop in crops]
    images = [widen(image, crop, wide) for image, crop, wide in zip(images, crops, padded, strict=True)]
    return Photos(tuple(sources), tuple(sizes), tuple(padded), stack(images))


def open_sources(path: Path, sources: list[Source]) -> Iterator[Image.Image]:
    """The pictures of one file: the image, or frames of the video."""
    if sources[0].time is None:
        image = open_image(path)
        for _ in sources:
            yield image
    else:
        yield from video.read_frames(path, [source.time for source in sources])


def widen(image: Tensor, crop: Crop, wide: Crop) -> Tensor:
    """The window [3, H, W] of `crop` with white around it up to the window of `wide`, which has the same centre."""
    above, before = crop.top - wide.top, crop.left - wide.left
    below = wide.window[0] - crop.window[0] - above
    after = wide.window[1] - crop.window[1] - before
    return functional.pad(image, (before, after, above, below), value=1.0)


def reason(path: Path, error: Exception) -> str:
    """In a few words, why a file cannot be read."""
    if isinstance(error, FgqError):
        return str(error).removeprefix(f"{shown(path)}: ")
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if path.stat().st_size == 0:
        return "empty"
    if isinstance(error, UnidentifiedImageError):
        with path.open("rb") as file:
            tiff = file.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
        return "a damaged TIFF, or one of a kind that is not read: save it with 8 or 16 bits" if tiff else "no image"
    if isinstance(error, Image.DecompressionBombError):
        return "too many pixels"
    return "truncated or damaged"


def describe_bad(bad: dict[Path, str], all_paths: set[Path]) -> str:
    """One line that names every bad file under its reason."""
    folders = {path.parent for path in all_paths}
    place = f"{shown(next(iter(folders)))}: " if len(folders) == 1 else ""
    groups = {}
    for path, why in bad.items():
        groups.setdefault(why, []).append(shown(path.name if place else path))
    named = "; ".join(f"{', '.join(names)} ({why})" for why, names in groups.items())
    return f"{place}{len(bad)} of {len(all_paths)} files cannot be read as images: {named}: take them out or mend them"
