"""COLMAP's text model: cameras.txt, images.txt, points3D.txt (colmap.github.io/format.html).

COLMAP's conventions are ours: camera-from-world poses, OpenCV axes, the first pixel's centre at (0.5, 0.5). Its
quaternions are w first.
"""

from pathlib import Path

import torch
from torch import Tensor

from fgq.export.reconstruction import Cloud
from fgq.geometry import project
from fgq.geometry.rotation import matrix_to_quaternion


def write_colmap(
    names: list[str],
    sizes: list[tuple[int, int]],
    extrinsics: Tensor,
    intrinsics: Tensor,
    cloud: Cloud,
    pixels: Tensor,
    folder: Path,
) -> None:
    """A PINHOLE camera and an image for each of S frames, and points that each have one observation.

    `names` have no spaces, which COLMAP cannot read; `sizes` (height, width), `intrinsics` [S, 3, 3] and `pixels`
    [N, 2], where the frame cloud.frame saw each point, are in pixels of the named images; `extrinsics` [S, 3, 4].
    """
    folder.mkdir(parents=True, exist_ok=True)
    quaternions = matrix_to_quaternion(extrinsics[..., :3]).roll(1, dims=-1)
    errors = reprojection_errors(cloud, pixels, extrinsics, intrinsics)
    cameras = ["# CAMERA_ID, MODEL, WIDTH, HEIGHT, FX, FY, CX, CY"]
    images = ["# IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME", "# X, Y, POINT3D_ID of every observation"]
    points = ["# POINT3D_ID, X, Y, Z, R, G, B, ERROR, then IMAGE_ID, POINT2D_IDX of every observation"] + [""] * len(
        cloud
    )
    for s, (name, (height, width)) in enumerate(zip(names, sizes, strict=True)):
        k = intrinsics[s]
        cameras.append(f"{s + 1} PINHOLE {width} {height} {numbers([k[0, 0], k[1, 1], k[0, 2], k[1, 2]])}")
        images.append(f"{s + 1} {numbers(quaternions[s])} {numbers(extrinsics[s, :, 3])} {s + 1} {name}")
        observed = (cloud.frame == s).nonzero()[:, 0].tolist()
        images.append(" ".join(f"{numbers(pixels[n])} {n + 1}" for n in observed))
        for position, n in enumerate(observed):
            colour = " ".join(map(str, cloud.colours[n].tolist()))
            points[n + 1] = f"{n + 1} {numbers(cloud.points[n])} {colour} {errors[n]:.6g} {s + 1} {position}"
    for file, lines in (("cameras", cameras), ("images", images), ("points3D", points)):
        (folder / f"{file}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def numbers(values) -> str:
    return " ".join(f"{float(value):.12g}" for value in values)


def reprojection_errors(cloud: Cloud, pixels: Tensor, extrinsics: Tensor, intrinsics: Tensor) -> list[float]:
    """Pixels between each point, seen by its own frame, and where it was observed: N numbers."""
    seen, _ = project(cloud.points[:, None, None], extrinsics[cloud.frame], intrinsics[cloud.frame])
    return torch.linalg.vector_norm(seen[:, 0, 0] - pixels, dim=-1).tolist()
