"""COLMAP's text files, read back by a parser that knows only their documentation."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from fgq.export import Output
from fgq.export.predict import write


@dataclass
class Model:
    cameras: dict
    images: dict
    points: dict


def parse(folder) -> Model:
    def lines(name):
        return [line for line in (folder / f"{name}.txt").read_text().splitlines() if not line.startswith("#")]

    cameras = {}
    for fields in map(str.split, lines("cameras")):
        assert fields[1] == "PINHOLE"
        cameras[int(fields[0])] = [float(field) for field in fields[2:]]
    images, both = {}, lines("images")
    for head, seen in zip(both[::2], both[1::2], strict=True):
        fields = head.split(" ")
        assert len(fields) == 10
        images[int(fields[0])] = {
            "quaternion": np.array(fields[1:5], dtype=float),
            "translation": np.array(fields[5:8], dtype=float),
            "camera": int(fields[8]),
            "name": fields[9],
            "observations": np.array(seen.split(), dtype=float).reshape(-1, 3),
        }
    points = {}
    for fields in map(str.split, lines("points3D")):
        track = [int(field) for field in fields[8:]]
        points[int(fields[0])] = (np.array(fields[1:4], dtype=float), np.array(fields[4:7], int), fields[7], track)
    return Model(cameras, images, points)


def rotate(quaternion, vector):
    """q v q* by Hamilton's rules; w first."""
    w, u = quaternion[0], quaternion[1:]
    return vector + 2 * np.cross(u, np.cross(u, vector) + w * vector)


@pytest.fixture(params=["photo", "model"])
def written(request, truth, tmp_path):
    names = ["a_1.png", "b_2.png", "c_0.png"]
    write(truth.reconstruct(), names, tmp_path, Output(image_size=request.param, keep=0.3))
    return request.param, tmp_path, parse(tmp_path / "sparse" / "0")


def test_every_point_projects_to_the_pixel_that_saw_it(written):
    _, _, model = written
    checked = 0
    for image in model.images.values():
        _, _, fx, fy, cx, cy = model.cameras[image["camera"]]
        for x, y, number in image["observations"][::7]:
            at = rotate(image["quaternion"], model.points[int(number)][0]) + image["translation"]
            assert at[2] > 0
            assert np.abs([fx * at[0] / at[2] + cx - x, fy * at[1] / at[2] + cy - y]).max() < 1e-6
            checked += 1
    assert checked > 100


def test_cameras_are_those_the_photos_were_rendered_with(written, truth):
    size, folder, model = written
    for s, image in model.images.items():
        camera, extrinsics = model.cameras[image["camera"]], truth.extrinsics[s - 1].numpy()
        basis = np.stack([rotate(image["quaternion"], axis) for axis in np.eye(3)], axis=1)
        np.testing.assert_allclose(basis, extrinsics[:, :3], atol=1e-6)
        np.testing.assert_allclose(image["translation"], extrinsics[:, 3], atol=1e-6)
        k = truth.photo_intrinsics[s - 1].numpy()
        if size == "photo":
            np.testing.assert_allclose(camera, [40, 60, k[0, 0], k[1, 1], 20, 30], rtol=1e-6)
        else:
            np.testing.assert_allclose(camera, [32, 32, 0.8 * k[0, 0], 0.8 * k[1, 1], 16, 16], rtol=1e-6)


def test_images_are_there_at_their_cameras_size_and_show_the_points_colours(written):
    from PIL import Image

    size, folder, model = written
    for image in model.images.values():
        with Image.open(folder / "images" / image["name"]) as file:
            pixels = np.asarray(file).astype(int)
        width, height = model.cameras[image["camera"]][:2]
        assert pixels.shape == (height, width, 3)
        x, y, numbers = image["observations"].T
        colours = np.stack([model.points[int(number)][1] for number in numbers])
        error = np.abs(pixels[y.astype(int), x.astype(int)] - colours).max(axis=1)
        assert (error == 0).all() if size == "model" else np.median(error) < 12  # photos were resized


def test_tracks_and_observations_name_one_another(written, truth):
    _, _, model = written
    assert (
        len(model.points)
        == round(0.3 * truth.depth.numel())
        == sum(len(i["observations"]) for i in model.images.values())
    )
    for number, (_, _, error, track) in model.points.items():
        image, position = track
        assert int(model.images[image]["observations"][position, 2]) == number
        assert float(error) < 1e-6


def test_points_of_the_head_have_an_error(truth, tmp_path):
    write(truth.reconstruct("head"), ["a.png", "b.png", "c.png"], tmp_path, Output(points="head"))
    errors = torch.tensor([float(point[2]) for point in parse(tmp_path / "sparse" / "0").points.values()])
    assert errors.median() > 0.05
