"""What frames of one sequence must have in common, and what no two of them may share."""

import hashlib
from dataclasses import dataclass

import numpy as np

from fgq.data.sequence import Frame

FIELDS = ("extrinsics", "intrinsics", "depth")
SAME_CAMERA = 1e-4  # largest difference of two entries of [R|t]


@dataclass(frozen=True)
class Mark:
    """What is left of a frame to compare it with others: fingerprints, so that any number of frames fits."""

    frame: str
    fields: tuple[str, ...]  # those of FIELDS that the frame has
    picture: bytes
    depth: bytes | None  # None where no depth is known
    extrinsics: np.ndarray | None


def mark(frame: Frame, identifier: str) -> Mark:
    known = frame.depth is not None and frame.depth.valid.any()
    return Mark(
        frame=identifier,
        fields=tuple(field for field in FIELDS if getattr(frame, field) is not None),
        picture=hashlib.sha256(frame.image.tobytes()).digest(),
        depth=hashlib.sha256(frame.depth.values.tobytes()).digest() if known else None,
        extrinsics=frame.extrinsics,
    )


def inconsistencies(marks: list[Mark]) -> list[str]:
    """Sentences on what cannot be: truth that only some frames have, and copies.

    Two frames that share a measured depth map, or a picture though their cameras differ, say that a file was copied
    over another; nothing else would show it.
    """
    told = []
    for field in FIELDS:
        have = sum(field in mark.fields for mark in marks)
        if have not in (0, len(marks)):
            told.append(f"only {have} of {len(marks)} frames have {field}")
    for what, kind in (("picture", "picture"), ("depth", "depth map")):
        first: dict[bytes, Mark] = {}
        for one in marks:
            value = getattr(one, what)
            earlier = first.setdefault(value, one) if value is not None else one
            if earlier is not one and not (what == "picture" and same_camera(earlier, one)):
                told.append(f"its frames {earlier.frame} and {one.frame} have the same {kind}")
    return told


def same_camera(a: Mark, b: Mark) -> bool:
    """Also where one of them has no camera: then nothing says that they differ."""
    if a.extrinsics is None or b.extrinsics is None:
        return True
    return bool(np.abs(a.extrinsics - b.extrinsics).max() < SAME_CAMERA)
