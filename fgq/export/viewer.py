"""One HTML file that shows cameras and points in any browser, without a network: data, WebGL and nothing else."""

import base64
import importlib.resources
import io
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from fgq.export.reconstruction import Cloud, Reconstruction
from fgq.geometry import invert_extrinsics

THUMBNAIL = 96  # pixels, longer side
VIEW_ANGLE = 0.85  # radians, vertical, of the first view
FRUSTUM = 0.15  # length of a drawn camera, of the median depth
LEVEL_WEIGHT = 0.01  # of viewing directions against x axes in finding where up is
POINT = [("position", "<f4", 3), ("colour", "u1", 4)]  # what the page's buffers hold


def write_viewer(scene: Reconstruction, cloud: Cloud, path: Path, share: float = 0.5) -> None:
    """The page for the points of `cloud`, which come most confident first; at first it shows `share` of them.

    Sliders choose the share, the size of points and of cameras; a click on a picture looks from its camera.
    """
    path.write_text(viewer_page(scene, cloud, share), encoding="utf-8")


def viewer_page(scene: Reconstruction, cloud: Cloud, share: float, view: dict | None = None, group: str = "") -> str:
    """The page's text. Pages of one `group` in frames of one document turn together and leave their sliders out.

    `view` replaces entries of `describe`, such as the "start" and "up" that several pages have in common.
    """
    page = importlib.resources.files("fgq.export").joinpath("viewer.html").read_text(encoding="utf-8")
    # A file name must not be able to end the page's script element.
    about = describe(scene, cloud, share) | {"group": group} | (view or {})
    content = json.dumps(about).replace("<", "\\u003c")
    return page.replace("@SCENE@", content).replace("@POINTS@", pack(cloud))


def pack(cloud: Cloud) -> str:
    """16 bytes a point, as base64: three float32 and four bytes of colour."""
    points = np.zeros(len(cloud), dtype=POINT)
    points["position"] = cloud.points
    points["colour"][:, :3] = cloud.colours
    return base64.b64encode(points.tobytes()).decode("ascii")


def describe(scene: Reconstruction, cloud: Cloud, share: float) -> dict:
    """What the page needs beside the points: cameras, and a first view that has most points and cameras in it."""
    poses = invert_extrinsics(scene.extrinsics)  # world-from-camera
    height, width = scene.depth.shape[-2:]
    corners = corner_rays(scene.intrinsics, height, width) @ poses[..., :3].transpose(-2, -1)
    centres, ahead = poses[..., 3], poses[..., 2]
    confident = cloud.best(share).points
    middle = confident.median(dim=0).values
    reach = torch.linalg.vector_norm(confident - middle, dim=-1)
    depth = float(scene.depth[scene.valid].median())
    up = upright(poses)
    mean = ahead.mean(dim=0)
    mean = mean if torch.linalg.vector_norm(mean) > 0.1 else ahead[0]  # cameras all around look nowhere on average
    # From behind and above the cameras, far enough for nine of ten points and all cameras to be in the picture.
    direction = functional.normalize(functional.normalize(mean, dim=0) - 0.5 * up, dim=0)
    cameras_reach = torch.linalg.vector_norm(centres - middle, dim=-1).max() + FRUSTUM * depth
    distance = max(float(np.quantile(reach.cpu().numpy(), 0.9)), float(cameras_reach)) / np.sin(VIEW_ANGLE / 2)
    spacing = depth / float(scene.intrinsics[:, 0, 0].median())  # between neighbouring pixels' points
    cameras = [
        {
            "name": scene.photos.names[s],
            "centre": centres[s].tolist(),
            "direction": ahead[s].tolist(),
            "up": (-poses[s, :, 1]).tolist(),
            "corners": corners[s].tolist(),
            "fov": 2 * float(torch.atan(height / 2 / scene.intrinsics[s, 1, 1])),
            "picture": thumbnail(scene.photos.images[s]),
        }
        for s in range(scene.num_frames)
    ]
    return {
        "cameras": cameras,
        "up": up.tolist(),
        "start": {
            "eye": (middle - distance * direction).tolist(),
            "direction": direction.tolist(),
            "distance": distance,
            "fov": VIEW_ANGLE,
        },
        "depth": depth,
        "reach": float(reach.median()),
        "frustum": FRUSTUM * depth,
        "spacing": spacing * float(scene.valid.sum() / len(cloud)) ** 0.5,
        "total": len(cloud),
        "share": share,
    }


def upright(poses: Tensor) -> Tensor:
    """The unit vector [3] that is most nearly upwards, from world-from-camera poses [S, 3, 4].

    Cameras are held level more often than not, so it is the direction most nearly at right angles to all their x axes;
    their viewing directions have a small say, which decides where all x axes are parallel.
    """
    right, down, ahead = poses[..., 0], poses[..., 1], poses[..., 2]
    spread = right.T @ right + LEVEL_WEIGHT * ahead.T @ ahead
    axis = torch.linalg.eigh(spread).eigenvectors[:, 0]
    return axis if axis @ down.sum(dim=0) <= 0 else -axis


def corner_rays(intrinsics: Tensor, height: int, width: int) -> Tensor:
    """Rays [S, 4, 3], z = 1, through the image's corners: upper left, upper right, lower right, lower left."""
    pixels = intrinsics.new_tensor([[0, 0], [width, 0], [width, height], [0, height]])
    focal = torch.stack([intrinsics[:, 0, 0], intrinsics[:, 1, 1]], dim=-1)[:, None]
    xy = (pixels - intrinsics[:, None, :2, 2]) / focal
    return torch.cat([xy, torch.ones_like(xy[..., :1])], dim=-1)


def thumbnail(image: Tensor) -> str:
    """A picture [3, H, W] as the data address of a small JPEG."""
    picture = Image.fromarray((image * 255).round().byte().permute(1, 2, 0).cpu().numpy())
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    stored = io.BytesIO()
    picture.save(stored, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(stored.getvalue()).decode("ascii")
