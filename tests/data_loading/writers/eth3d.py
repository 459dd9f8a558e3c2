from pathlib import Path

import numpy as np
from scipy.optimize import fsolve
from scipy.spatial.transform import Rotation

from writers.files import write_image, write_text
from writers.room import Room

FISHEYE = (0.08, -0.03, 4e-4, -3e-4, 0.02, -0.01, 5e-4, -4e-4)  # k1 k2 p1 p2 k3 k4 sx1 sy1
HEADER = "# comment\n# comment\n# comment\n"


def write(root: Path, places: dict[str, Room], distorted_scale=1, fisheye=None) -> None:
    """Depth belongs to a distorted camera of `distorted_scale` times the size; no `fisheye` makes it a pinhole too."""
    for name, room in places.items():
        matrix = room.intrinsics[0]
        sizes = room.width, room.height
        pinhole = (matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2])
        stored = tuple(distorted_scale * value for value in pinhole)
        large = distorted_scale * room.width, distorted_scale * room.height
        model = "PINHOLE" if fisheye is None else "THIN_PRISM_FISHEYE"
        calibrations = (
            ("dslr_calibration_undistorted", "dslr_images_undistorted", "PINHOLE", sizes, pinhole),
            ("dslr_calibration_jpg", "dslr_images", model, large, (*stored, *(fisheye or ()))),
        )
        for folder, images, kind, size, parameters in calibrations:
            words = " ".join(f"{value:.12g}" for value in (*size, *parameters))
            write_text(root / name / folder / "cameras.txt", f"{HEADER}0 {kind} {words}\n")
            write_text(root / name / folder / "images.txt", HEADER + image_lines(room, images))
        u, v = rays(stored, fisheye, *large)
        for frame in range(len(room.images)):
            file = image_name(frame)
            write_image(root / name / "images" / "dslr_images_undistorted" / file, room.images[frame])
            depth = room.depth_along(frame, u, v).astype("<f4")
            depth[:2] = np.inf
            path = root / name / "ground_truth_depth" / "dslr_images" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(depth.tobytes())


def image_name(frame: int) -> str:
    return f"DSC_{286 + frame:04d}.JPG"


def image_lines(room: Room, folder: str) -> str:
    """Newest first: the order in the file is not that of the names."""
    lines = []
    for frame in reversed(range(len(room.images))):
        motion = room.camera_from_room[frame]
        x, y, z, w = Rotation.from_matrix(motion[:, :3]).as_quat()
        numbers = " ".join(f"{value:.15g}" for value in (w, x, y, z, *motion[:, 3]))
        lines.append(f"{frame + 1} {numbers} 0 {folder}/{image_name(frame)}\n12.5 7.25 -1 3.5 2.5 17\n")
    return "".join(lines)


def bend(u: float, v: float, fisheye: tuple[float, ...]) -> tuple[float, float]:
    """THIN_PRISM_FISHEYE at one ray, by the angle from the axis."""
    k1, k2, p1, p2, k3, k4, s1, s2 = fisheye
    r = (u * u + v * v) ** 0.5
    theta = np.arctan2(r, 1.0)
    a, b = (theta * u / r, theta * v / r) if r > 0 else (u, v)
    t = theta**2
    gain = 1 + k1 * t + k2 * t**2 + k3 * t**3 + k4 * t**4
    return (
        a * gain + 2 * p1 * a * b + p2 * (t + 2 * a * a) + s1 * t,
        b * gain + 2 * p2 * a * b + p1 * (t + 2 * b * b) + s2 * t,
    )


def rays(parameters, fisheye, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """The ray (u, v, 1) of every pixel's centre; distortion is inverted by a root finder."""
    fx, fy, cx, cy = parameters
    y, x = np.meshgrid((np.arange(height) + 0.5 - cy) / fy, (np.arange(width) + 0.5 - cx) / fx, indexing="ij")
    if fisheye is None:
        return x, y
    u, v = np.empty_like(x), np.empty_like(y)
    for at in np.ndindex(x.shape):
        goal = x[at], y[at]
        u[at], v[at] = fsolve(lambda ray, goal=goal: np.subtract(bend(*ray, fisheye), goal), goal)
    return u, v
