"""What CO3Dv2 says of its frames: gzipped JSON annotations and set lists, checked entry by entry."""

import gzip
import json
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from fgq.data.reading import read_bytes
from fgq.data.sequence import SequenceError, fault, shown

INTRINSICS_FORMATS = ("ndc_isotropic", "ndc_norm_image_bounds")


@dataclass(frozen=True)
class FrameAnnotation:
    """One frame; paths are relative to the dataset's root, the camera is PyTorch3D's."""

    image: str
    height: int  # pixels
    width: int
    rotation: np.ndarray  # [3, 3]
    translation: np.ndarray  # [3]
    focal_length: np.ndarray  # [2] normalised
    principal_point: np.ndarray  # [2] normalised
    intrinsics_format: str
    mask: str | None
    depth: str | None
    depth_mask: str | None
    scale_adjustment: float


def read_json(path: Path, gzipped: bool) -> object:
    """Raises SequenceError for a file that is missing, cut off or no JSON."""
    content = read_bytes(path)
    try:
        return json.loads(gzip.decompress(content) if gzipped else content)
    except (OSError, EOFError, zlib.error, ValueError, RecursionError) as error:
        raise fault(path, f"is damaged ({error})") from None


def read_set_list(path: Path, split: str) -> dict[str, list[int]]:
    """Frame numbers of every sequence of a split, ascending. Raises SequenceError, for a frame named twice too."""
    content = read_json(path, gzipped=False)
    entries = content.get(split) if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise fault(path, f"has no list for the split {split!r}")
    found: dict[str, list[int]] = {}
    for entry in entries:
        well_formed = isinstance(entry, list) and len(entry) >= 2
        if not well_formed or not isinstance(entry[0], str) or type(entry[1]) is not int:
            raise fault(path, f"{str(entry)[:60]!r} is no [sequence, frame number, image path]")
        found.setdefault(entry[0], []).append(entry[1])
    for name, frames in found.items():
        if len(set(frames)) != len(frames):
            raise fault(path, f"sequence {name} names a frame twice")
        frames.sort()
    return found


class Annotations:
    """Those of one category at a time, and of one sequence: of all categories together they take gigabytes."""

    def __init__(self, root: Path):
        self.root = root
        self.entries = lru_cache(maxsize=1)(self.read_entries)
        self.frames = lru_cache(maxsize=1)(self.read_frames)

    def path(self, category: str) -> Path:
        return self.root / category / "frame_annotations.jgz"

    def read_entries(self, category: str) -> dict[str, dict[int, dict]] | SequenceError:
        """Raw entries by sequence and frame number, or the error: told for every sequence, without reading again."""
        self.entries.cache_clear()  # before reading: never two at once
        try:
            return group_entries(read_json(self.path(category), gzipped=True), self.path(category))
        except SequenceError as error:
            return error

    def read_frames(self, category: str, sequence: str) -> dict[int, FrameAnnotation]:
        """Annotations by frame number. Raises SequenceError for a damaged file and a sequence that is not in it."""
        entries = self.entries(category)
        if isinstance(entries, SequenceError):
            raise entries
        if sequence not in entries:
            raise fault(self.path(category), f"has no sequence {sequence}")
        where = f"{shown(self.path(category))}: sequence {sequence}"
        return {number: parse(entry, f"{where}, frame {number}") for number, entry in entries[sequence].items()}


def group_entries(content: object, path: Path) -> dict[str, dict[int, dict]]:
    """Raw entries by sequence and frame number. Raises SequenceError for a frame that stands there twice."""
    if not isinstance(content, list):
        raise fault(path, "is no list of frames")
    found: dict[str, dict[int, dict]] = {}
    for entry in content:
        where = shown(path)
        sequence, number = field(entry, "sequence_name", str, where), field(entry, "frame_number", int, where)
        of_sequence = found.setdefault(sequence, {})
        if number in of_sequence:
            raise fault(where, f"frame {number} of sequence {sequence} stands there twice")
        of_sequence[number] = entry
    return found


def parse(entry: dict, where: str) -> FrameAnnotation:
    image, camera = field(entry, "image", dict, where), field(entry, "viewpoint", dict, where)
    depth, mask = entry.get("depth"), entry.get("mask")
    kind = field(camera, "intrinsics_format", str, where).lower()
    if kind not in INTRINSICS_FORMATS:
        raise fault(where, f"the intrinsics format {kind!r} is none of {', '.join(INTRINSICS_FORMATS)}")
    height, width = array(image, "size", (2,), where)
    scale = float(array(depth, "scale_adjustment", (), where)) if depth else 1.0
    if scale <= 0:
        raise fault(where, f"scale_adjustment of the depth is {scale}")
    return FrameAnnotation(
        image=field(image, "path", str, where),
        height=int(height),
        width=int(width),
        rotation=array(camera, "R", (3, 3), where),
        translation=array(camera, "T", (3,), where),
        focal_length=array(camera, "focal_length", (2,), where),
        principal_point=array(camera, "principal_point", (2,), where),
        intrinsics_format=kind,
        mask=field(mask, "path", str, where) if mask else None,
        depth=field(depth, "path", str, where) if depth else None,
        depth_mask=field(depth, "mask_path", str, where) if depth else None,
        scale_adjustment=scale,
    )


def field(entry: object, name: str, kind: type, where: str):
    value = entry.get(name) if isinstance(entry, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise fault(where, f"{name!r} is missing or no {kind.__name__}")
    return value


def array(entry: object, name: str, shape: tuple[int, ...], where: str) -> np.ndarray:
    """Finite numbers of a given shape."""
    value = entry.get(name) if isinstance(entry, dict) else None
    try:
        numbers = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        numbers = np.full(1, np.nan)
    if numbers.shape != shape or not np.isfinite(numbers).all():
        raise fault(where, f"{name!r} is no array of finite numbers of shape {list(shape)}")
    return numbers
