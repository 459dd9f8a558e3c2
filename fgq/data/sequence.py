"""A sequence on disk: frames with the cameras and depth that a dataset stores, before they are resized."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path

import numpy as np
from PIL import Image

from fgq.errors import FgqError

# A principal point outside the middle half says that the calibration is for images of another size.
CENTRAL = (0.25, 0.75)
FIELDS = ("extrinsics", "intrinsics", "depth")  # what all frames of a sequence have, or none
SAME_CAMERA = 1e-4  # largest difference of two entries of [R|t]


class SequenceError(FgqError):
    """A sequence that cannot be used; the message begins with the path of the file or folder that is wrong."""


def shown(path: str | PathLike) -> str:
    """A path as text that can be printed and stored, even where its bytes are no UTF-8."""
    return fspath(path).encode("utf-8", "backslashreplace").decode().replace("\n", "\\n")


def fault(where: str | PathLike, told: str, kind: type[FgqError] = SequenceError) -> FgqError:
    """The error that says what is wrong with a path, or with a place in a file."""
    return kind(f"{shown(where)}: {told}")


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


def check_depth(values: np.ndarray, unknown: np.ndarray, path: Path) -> np.ndarray:
    """Depth with 0 where it is unknown. Raises SequenceError for NaN, infinity or negative depth where it is known."""
    known = values[~unknown]
    if not np.isfinite(known).all():
        raise fault(path, "the depth holds NaN or infinity")
    if (known < 0).any():
        raise fault(path, f"{int((known < 0).sum())} depths are negative")
    return np.where(unknown, 0, values).astype(np.float32)


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
        sizes = f"the image has {width} × {height} pixels, its depth map {wide} × {tall}"
        raise fault(path, f"{sizes}; take both from the same archive")
    if frame.intrinsics is not None:
        x, y = frame.intrinsics[0, 2] / width, frame.intrinsics[1, 2] / height
        if not all(CENTRAL[0] <= at <= CENTRAL[1] for at in (x, y)):
            place = f"{x:.2f} of the width and {y:.2f} of the height"
            raise fault(path, f"the calibration has the optical axis at {place}: it belongs to images of another size")
    return frame


@dataclass(frozen=True)
class Mark:
    """What is left of a frame to compare it with others: fingerprints, so that any number of frames fits."""

    frame: str
    fields: tuple[str, ...]  # those of FIELDS that the frame has
    picture: bytes
    depth: bytes | None  # None where no depth is known
    extrinsics: np.ndarray | None

    @classmethod
    def of(cls, frame: Frame, identifier: str) -> "Mark":
        fields = tuple(field for field in FIELDS if getattr(frame, field) is not None)
        known = frame.depth is not None and frame.depth.valid.any()
        depth = hashlib.sha256(frame.depth.values.tobytes()).digest() if known else None
        return cls(identifier, fields, hashlib.sha256(frame.image.tobytes()).digest(), depth, frame.extrinsics)

    def same_camera(self, other: "Mark") -> bool:
        """Also where one of them has no camera: then nothing says that they differ."""
        if self.extrinsics is None or other.extrinsics is None:
            return True
        return bool(np.abs(self.extrinsics - other.extrinsics).max() < SAME_CAMERA)


def inconsistencies(marks: list[Mark]) -> list[str]:
    """Sentences on what frames of one sequence cannot be: truth that only some have, and copies.

    Two frames that share a measured depth map, or a picture though their cameras differ, say that a file was copied
    over another; nothing else would show it.
    """
    have = {field: sum(field in mark.fields for mark in marks) for field in FIELDS}
    told = [f"only {n} of {len(marks)} frames have {field}" for field, n in have.items() if n not in (0, len(marks))]
    for what, kind in (("picture", "picture"), ("depth", "depth map")):
        first: dict[bytes, Mark] = {}
        for mark in marks:
            value = getattr(mark, what)
            earlier = first.setdefault(value, mark) if value is not None else mark
            if earlier is not mark and not (what == "picture" and earlier.same_camera(mark)):
                told.append(f"its frames {earlier.frame} and {mark.frame} have the same {kind}")
    return told
