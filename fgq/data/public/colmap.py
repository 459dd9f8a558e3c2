"""COLMAP's text calibration: cameras.txt and images.txt, and the distortion of ETH3D's cameras."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from fgq.data.public.cameras import pinhole, rigid
from fgq.data.reading import read_text, to_numbers
from fgq.data.sequence import fault, shown

PARAMETERS = {"PINHOLE": 4, "THIN_PRISM_FISHEYE": 12}
UNIT_TOLERANCE = 1e-3  # of a quaternion's length


@dataclass(frozen=True)
class ColmapCamera:
    """PINHOLE has fx fy cx cy; THIN_PRISM_FISHEYE goes on with k1 k2 p1 p2 k3 k4 sx1 sy1. Pixels from the corner."""

    model: str
    width: int
    height: int
    parameters: np.ndarray

    def intrinsics(self, where: str | Path) -> np.ndarray:
        return pinhole(*self.parameters[:4], where)

    def pixels(self, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Image point of the viewing ray (u, v, 1)."""
        fx, fy, cx, cy = self.parameters[:4]
        if self.model == "THIN_PRISM_FISHEYE":
            u, v = thin_prism_fisheye(u, v, self.parameters[4:])
        return fx * u + cx, fy * v + cy


def thin_prism_fisheye(u: np.ndarray, v: np.ndarray, parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Equidistant fisheye, then radial (k), tangential (p) and thin-prism (s) terms, as COLMAP has them."""
    k1, k2, p1, p2, k3, k4, s1, s2 = parameters
    radius = np.hypot(u, v)
    shrink = np.where(radius > 1e-12, np.arctan(radius) / np.maximum(radius, 1e-12), 1.0)
    u, v = u * shrink, v * shrink
    uu, uv, vv = u * u, u * v, v * v
    square = uu + vv
    radial = square * (k1 + square * (k2 + square * (k3 + square * k4)))
    return (
        u * (1 + radial) + 2 * p1 * uv + p2 * (square + 2 * uu) + s1 * square,
        v * (1 + radial) + 2 * p2 * uv + p1 * (square + 2 * vv) + s2 * square,
    )


@dataclass(frozen=True)
class Calibration:
    folder: Path
    cameras: dict[int, ColmapCamera]
    images: dict[str, tuple[int, np.ndarray]]  # camera's id and camera-from-world [3, 4] by file name

    def of(self, frame: str) -> tuple[ColmapCamera, np.ndarray]:
        """Camera and camera-from-world [3, 4] of an image."""
        identifier, extrinsics = self.images.get(frame, (None, None))
        if identifier not in self.cameras:
            raise fault(self.folder, f"{frame} or its camera is not in images.txt and cameras.txt")
        return self.cameras[identifier], extrinsics


def read_calibration(folder: Path) -> Calibration:
    """Of images by file name, without the folder that COLMAP puts before it. Raises SequenceError for none, and two."""
    images = read_images(folder / "images.txt")
    by_name = {PurePosixPath(name).name: image for name, image in images.items()}
    if not images or len(by_name) != len(images):
        raise fault(folder / "images.txt", "lists no image, or one of them twice")
    return Calibration(folder, read_cameras(folder / "cameras.txt"), by_name)


def content_lines(path: Path) -> list[str]:
    """Lines that are no comments. Raises SequenceError when the last one is cut off: its last number may be too."""
    text = read_text(path)
    if not text.endswith("\n"):
        raise fault(path, "its last line does not end, the file is cut off")
    return [line for line in text.splitlines() if not line.startswith("#")]


def read_cameras(path: Path) -> dict[int, ColmapCamera]:
    """Cameras by id. Raises SequenceError for a model that is not in PARAMETERS."""
    found = {}
    for words in filter(None, map(str.split, content_lines(path))):
        where = f"{shown(path)}: camera {words[0][:20]}"
        model = words[1] if len(words) > 1 else ""
        if model not in PARAMETERS:
            raise fault(where, f"the model {model[:30]!r} is none of {', '.join(PARAMETERS)}")
        identifier, width, height = whole_numbers([words[0], *words[2:4]], 3, where)
        parameters = to_numbers(words[4:], PARAMETERS[model], where)
        if identifier in found or width < 1 or height < 1:
            raise fault(where, "stands there twice, or has no pixels")
        pinhole(*parameters[:4], where)
        found[identifier] = ColmapCamera(model, width, height, parameters)
    return found


def read_images(path: Path) -> dict[str, tuple[int, np.ndarray]]:
    """Camera's id and pose by name. Every image takes two lines; the second one, its keypoints, is not read."""
    lines = content_lines(path)
    while lines and not lines[-1].strip() and len(lines) % 2:
        lines.pop()  # an empty line at the end; that of an image without keypoints makes the number even
    found = {}
    for line in lines[::2]:
        words = line.split(maxsplit=9)
        where = f"{shown(path)}: image {words[9].strip() if len(words) == 10 else line}"[:300]
        if len(words) != 10:
            raise fault(where, "is no line of id, quaternion, translation, camera id and name")
        _, camera = whole_numbers([words[0], words[8]], 2, where)
        numbers = to_numbers(words[1:8], 7, where)
        name = words[9].strip()
        if name in found:
            raise fault(where, "stands there twice")
        found[name] = camera, extrinsics_of(numbers[:4], numbers[4:], where)
    return found


def whole_numbers(words: list[str], count: int, where: str) -> list[int]:
    if len(words) != count or not all(word.isascii() and word.isdigit() for word in words):
        raise fault(where, "its ids and sizes must be whole numbers")
    return [int(word) for word in words]


def extrinsics_of(quaternion: np.ndarray, translation: np.ndarray, where: str) -> np.ndarray:
    """Camera-from-world of a unit quaternion w x y z and a translation: [3, 4]."""
    length = np.linalg.norm(quaternion)
    if abs(length - 1) > UNIT_TOLERANCE:
        raise fault(where, f"its quaternion has length {length:.3g}, so it is not a rotation")
    w, x, y, z = quaternion / length
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    return rigid(np.concatenate([rotation, translation[:, None]], axis=1), where)
