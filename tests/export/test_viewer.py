"""The page's data against the reconstruction, and that it needs nothing from outside."""

import base64
import io
import json
import re
from dataclasses import replace

import numpy as np
import torch
from PIL import Image

from fgq.export.viewer import corner_rays, upright, write_viewer
from fgq.geometry import invert_extrinsics, project


def parts(path) -> tuple[dict, np.ndarray, np.ndarray, str]:
    page = path.read_text(encoding="utf-8")
    scene = re.search(r'<script type="application/json" id="scene">(.*?)</script>', page, re.S).group(1)
    blob = re.search(r'<script type="text/plain" id="points">(.*?)</script>', page, re.S).group(1)
    raw = np.frombuffer(base64.b64decode(blob), dtype=np.uint8).reshape(-1, 16)
    return json.loads(scene), raw[:, :12].copy().view("<f4"), raw[:, 12:15], page


def test_the_page_holds_points_in_their_order(truth, tmp_path):
    scene = truth.reconstruct()
    cloud = scene.cloud().thinned(500)
    write_viewer(scene, cloud, tmp_path / "viewer.html", share=0.7)
    content, points, colours, _ = parts(tmp_path / "viewer.html")
    assert content["total"] == 500 and content["share"] == 0.7
    assert np.array_equal(points, cloud.points.float().numpy()) and np.array_equal(colours, cloud.colours.numpy())


def test_the_page_loads_nothing(truth, tmp_path):
    scene = truth.reconstruct()
    write_viewer(scene, scene.cloud(), tmp_path / "viewer.html")
    *_, page = parts(tmp_path / "viewer.html")
    assert "http" not in page and "@SCENE@" not in page and "@POINTS@" not in page
    assert not re.search(r"\b(?:src|href)=\"|@import|import\(|fetch\(", page)


def test_a_name_cannot_end_the_script(truth, tmp_path):
    scene = truth.reconstruct()
    source = scene.photos.sources[0]
    evil = replace(source, path=source.path.with_name("<script><!--.png"))
    photos = replace(scene.photos, sources=(evil, *scene.photos.sources[1:]))
    write_viewer(replace(scene, photos=photos), scene.cloud(), tmp_path / "viewer.html")
    content, *_ = parts(tmp_path / "viewer.html")
    assert content["cameras"][0]["name"] == "<script><!--.png"


def test_frusta_are_the_cameras(truth, tmp_path):
    scene = truth.reconstruct()
    write_viewer(scene, scene.cloud(), tmp_path / "viewer.html")
    content, *_ = parts(tmp_path / "viewer.html")
    centres = invert_extrinsics(scene.extrinsics)[..., 3]
    for s, camera in enumerate(content["cameras"]):
        np.testing.assert_allclose(camera["centre"], centres[s], atol=1e-6)
        corners = torch.tensor(camera["corners"], dtype=torch.float64) + centres[s]
        pixels, depth = project(corners[None], scene.extrinsics[s], scene.intrinsics[s])
        np.testing.assert_allclose(pixels[0], [[0, 0], [32, 0], [32, 32], [0, 32]], atol=1e-6)
        np.testing.assert_allclose(depth, 1, atol=1e-9)
        picture = Image.open(io.BytesIO(base64.b64decode(camera["picture"].split(",")[1])))
        assert picture.size == (32, 32)
        error = np.asarray(picture).astype(float) / 255 - truth.photos.images[s].permute(1, 2, 0).numpy()
        assert np.abs(error).mean() < 0.1


def test_most_points_and_all_cameras_are_in_the_first_view(truth, tmp_path):
    """The pinhole at `eye` looking along `direction` with the vertical angle `fov`, in a square window."""
    scene = truth.reconstruct()
    write_viewer(scene, scene.cloud(), tmp_path / "viewer.html")
    content, points, *_ = parts(tmp_path / "viewer.html")
    start, up = content["start"], np.array(content["up"])
    ahead = np.array(start["direction"])
    right = np.cross(ahead, up) / np.linalg.norm(np.cross(ahead, up))
    axes = np.stack([right, np.cross(right, ahead), ahead])

    def inside(positions):
        x, y, z = axes @ (np.array(positions) - start["eye"]).T
        limit = np.tan(start["fov"] / 2)
        return (z > 0) & (np.abs(x) < limit * z) & (np.abs(y) < limit * z)

    assert inside(points).mean() > 0.75
    assert inside([camera["centre"] for camera in content["cameras"]]).all()


def rotation(axis: int, degrees: float) -> torch.Tensor:
    angle = np.deg2rad(degrees)
    i, j = [(1, 2), (2, 0), (0, 1)][axis]
    matrix = torch.eye(3, dtype=torch.float64)
    matrix[i, i] = matrix[j, j] = np.cos(angle)
    matrix[j, i] = np.sin(angle)
    matrix[i, j] = -np.sin(angle)
    return matrix


def test_up_is_found_from_level_cameras_that_look_down():
    turns = [rotation(1, yaw) @ rotation(0, -25) for yaw in (0, 30, 50)]
    poses = torch.stack([torch.cat([turn, torch.zeros(3, 1, dtype=torch.float64)], dim=1) for turn in turns])
    # Pitched about x by 25° and turned about the vertical: the x axes stay level, the y axes do not.
    assert abs(poses[0, 1, 1] - np.cos(np.deg2rad(25))) < 1e-9
    angle = torch.rad2deg(torch.acos(upright(poses) @ torch.tensor([0, -1.0, 0], dtype=torch.float64)))
    assert angle < 3
    mean = torch.nn.functional.normalize(-poses[:, :, 1].mean(0), dim=0)
    assert torch.rad2deg(torch.acos(-mean[1])) > 15


def test_up_of_one_camera_is_its_own():
    pose = torch.cat([rotation(2, 40) @ rotation(0, 10), torch.ones(3, 1, dtype=torch.float64)], dim=1)[None]
    torch.testing.assert_close(upright(pose), -pose[0, :, 1])


def test_corner_rays_are_at_depth_one():
    intrinsics = torch.tensor([[[2.0, 0, 4], [0, 4.0, 6], [0, 0, 1]]])
    truth = [[-2, -1.5, 1], [2, -1.5, 1], [2, 1.5, 1], [-2, 1.5, 1]]
    assert corner_rays(intrinsics, 12, 8)[0].tolist() == truth
