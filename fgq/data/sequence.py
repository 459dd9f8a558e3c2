"""A sequence on disk: its frames with the cameras and depth that its dataset stores, before they are resized."""

from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike, fspath

import numpy as np
from PIL import Image

from fgq.errors import FgqError

# A principal point outside the middle half says that the calibration is for images of another size.
CENTRAL = (0.25, 0.75)


class SequenceError(FgqError):
    """A sequence that cannot be used; the message begins with the path of the file or folder that is wrong."""


def shown(path: str | PathLike) -> str:
    """A path as text that can be printed and stored, even where its bytes are no UTF-8."""
    return fspath(path).encode("utf-8", "backslashreplace").decode().replace("\n", "\\n")


@dataclass(frozen=True)
class DepthMap:
    """z-depth of one frame, [h, w] in the dataset's unit, and where it is known.

    `warp` takes image coordinates x, y (pixels, (0.5, 0.5) the first pixel's centre) to those of the depth map;
    None where both are the same pixels.
    """

    values: np.ndarray
    valid: np.ndarray
    warp: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]] | None = None

    def sample(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Depth and validity of the pixels that hold the image points x, y; unknown depth is 0. No interpolation:
        between an object and what is behind it, there is nothing at the mean of both depths."""
        if self.warp is not None:
            x, y = self.warp(x, y)
        height, width = self.values.shape
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        column, row = (np.where(inside, at, 0).astype(np.int64) for at in (x, y))
        valid = inside & self.valid[row, column]
        return np.where(valid, self.values[row, column], 0).astype(np.float32), valid


@dataclass(frozen=True)
class Frame:
    """One frame as stored. Cameras are camera-from-world in OpenCV axes; the world is the dataset's own."""

    image: Image.Image  # RGB
    extrinsics: np.ndarray | None = None  # [3, 4]
    intrinsics: np.ndarray | None = None  # [3, 3] pixels; pixel (0, 0)'s centre is at (0.5, 0.5)
    depth: DepthMap | None = None


@dataclass(frozen=True)
class Sequence:
    """A named clip: `frames()` lists its frame ids in order, `read(id)` reads one. Both raise SequenceError.

    `group` is what sequences are spread over when only some are taken, such as a category.
    """

    name: str
    frames: Callable[[], list[str]]
    read: Callable[[str], Frame]
    group: str = ""


@dataclass(frozen=True)
class SequenceFailure:
    """A sequence that could not be used, and why: the reason names the path."""

    sequence: str
    reason: str


def check_frame(frame: Frame, path: str | PathLike) -> Frame:
    """Raises SequenceError when the frame's depth or calibration is for an image of another size."""
    width, height = frame.image.size
    if frame.depth is not None and frame.depth.warp is None and frame.depth.values.shape != (height, width):
        tall, wide = frame.depth.values.shape
        raise SequenceError(
            f"{shown(path)}: the image has {width} × {height} pixels, its depth map {wide} × {tall}; "
            "take both from the same archive"
        )
    if frame.intrinsics is not None:
        x, y = frame.intrinsics[0, 2] / width, frame.intrinsics[1, 2] / height
        if not all(CENTRAL[0] <= at <= CENTRAL[1] for at in (x, y)):
            raise SequenceError(
                f"{shown(path)}: the calibration puts the optical axis at {x:.2f} of the width and {y:.2f} of the "
                "height: it belongs to images of another size"
            )
    return frame
