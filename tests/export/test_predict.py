"""The verb, from files to files, with a small random model; and vggt-tiny on a rendered room."""

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import fgq
from fgq.data.sequence import shown
from fgq.errors import FgqError
from fgq.export import Output, predict
from fgq.export.pictures import write_scene
from fgq.geometry import decode_pose, project


@pytest.fixture
def photos(tmp_path):
    """Mixed pictures as people have them: wide, tall and turned, with alpha, deep grey, WebP."""
    folder, noise = tmp_path / "photos", np.random.default_rng(0)
    folder.mkdir()
    exif = Image.Exif()
    exif[274] = 6
    pixels = noise.integers(0, 256, (30, 40, 4), dtype=np.uint8)
    Image.fromarray(pixels[..., :3]).save(folder / "turned.jpg", exif=exif)
    Image.fromarray(pixels).save(folder / "alpha.png")
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(folder / "deep.png")
    Image.fromarray(pixels[..., :3]).save(folder / "wide.webp")
    return folder


def test_every_file_is_there_and_cameras_lead_to_it(photos, seeing_model, tmp_path):
    scene = predict(seeing_model, photos, tmp_path / "out")
    out = tmp_path / "out"
    content = json.loads((out / "cameras.json").read_text())
    names = [frame["source"] for frame in content["frames"]]
    assert names == ["alpha.png", "deep.png", "turned.jpg", "wide.webp"]
    for s, frame in enumerate(content["frames"]):
        with Image.open(out / frame["image"]) as file:
            assert file.size == (frame["photo"]["width"], frame["photo"]["height"])
        codes = np.asarray(Image.open(out / frame["depth"])).astype(float)
        depth = scene.depth[s].where(scene.valid[s], 0)
        np.testing.assert_allclose(codes * frame["depth_scale"], depth, atol=frame["depth_scale"])
        both = [np.vstack([frame[name], [0, 0, 0, 1]]) for name in ("camera_from_world", "world_from_camera")]
        np.testing.assert_allclose(both[0] @ both[1], np.eye(4), atol=1e-9)
    assert content["frames"][2]["photo"]["width"] == 30  # upright
    files = {path.relative_to(out).parts[0] for path in out.rglob("*") if path.is_file()}
    assert files == {"cameras.json", "images", "sparse", "depth", "confidence", "points.ply", "viewer.html"}


def test_what_is_written_is_what_the_model_says(photos, seeing_model, tmp_path):
    scene = predict(seeing_model, photos, tmp_path / "out", Output(points="head"))
    with torch.no_grad():
        truth = seeing_model(scene.photos.images)
    torch.testing.assert_close(scene.points, truth.world_points[0].double())
    torch.testing.assert_close(scene.depth, truth.depth[0, ..., 0].double())
    extrinsics, _ = decode_pose(truth.pose_enc[0].double(), scene.photos.images.shape[-2:])
    torch.testing.assert_close(scene.extrinsics, extrinsics)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_name_that_is_no_utf8_is_told_in_escapes(photos, seeing_model, tmp_path):
    name = "\udce9.jpg"  # one byte that no text has
    (photos / "turned.jpg").rename(photos / name)
    predict(seeing_model, photos, tmp_path / "out")
    (frame,) = [
        frame
        for frame in json.loads((tmp_path / "out/cameras.json").read_text())["frames"]
        if frame["source"] == shown(name)
    ]
    assert frame["image"] == "images/_.jpg" and (tmp_path / "out" / frame["image"]).is_file()


@pytest.mark.parametrize("count", [1, 2, 3, 20])
@pytest.mark.parametrize("height, width", [(16, 16), (17, 16), (15, 16), (16, 17), (50, 20), (20, 50)])
def test_any_number_and_shape(tmp_path, seeing_model, count, height, width):
    photos = tmp_path / "photos"
    photos.mkdir()
    for n in range(count):
        Image.fromarray(np.full((height, width, 3), 10 * n, dtype=np.uint8)).save(photos / f"{n:02}.png")
    scene = predict(seeing_model, photos, tmp_path / "out", Output(depth_format="npz", image_size="model"))
    tall = min(16, max(8, round(height * 16 / width / 8) * 8))
    assert scene.depth.shape == (count, tall, 16)
    assert np.load(tmp_path / "out" / "depth.npz")["depth"].shape == (count, tall, 16)


def test_frames_size_and_mode_reach_the_pictures(photos, seeing_model, tmp_path):
    scene = predict(seeing_model, photos, tmp_path / "out", frames=2, size=24, mode="pad")
    assert scene.depth.shape == (2, 24, 24) and scene.photos.names == ["alpha.png", "turned.jpg"]
    assert not scene.valid.all()


@pytest.mark.parametrize(
    "options, told",
    [
        ({"points": "mesh"}, "points 'mesh' is not one of depth, head"),
        ({"depth_format": "exr"}, "depth_format 'exr' is not one of png, npz"),
        ({"image_size": "huge"}, "image_size 'huge' is not one of photo, model"),
        ({"keep": 0.0}, "keep 0.0 is not a share"),
        ({"keep": 1.5}, "keep 1.5 is not a share"),
    ],
)
def test_choices_are_checked(options, told):
    with pytest.raises(FgqError, match=told):
        Output(**options)


def test_a_folder_that_holds_something_is_left_alone(photos, seeing_model, tmp_path):
    with pytest.raises(FgqError, match="is not empty"):
        predict(seeing_model, photos, photos)
    assert len(list(photos.iterdir())) == 4


def test_a_camera_that_sees_nothing_is_named(photos, seeing_model, tmp_path):
    with torch.no_grad():
        seeing_model.camera_head.pose_branch.fc2.bias[7] = -1
    with pytest.raises(FgqError, match="alpha.png: the model predicts a camera with view angles of 0° × 57"):
        predict(seeing_model, photos, tmp_path / "out")


def test_bad_files_leave_no_folder(photos, seeing_model, tmp_path):
    (photos / "empty.jpg").touch()
    with pytest.raises(FgqError, match=r"1 of 5 files cannot be read as images: empty.jpg \(empty\)"):
        predict(seeing_model, photos, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_was_interrupted_or_failed_leaves_nothing_and_can_be_repeated(photos, seeing_model, tmp_path, monkeypatch):
    for error in (KeyboardInterrupt, OSError(28, "No space left on device")):
        with monkeypatch.context() as patch:
            patch.setattr(sys.modules[Output.__module__], "write_ply", raising(error))
            with pytest.raises((KeyboardInterrupt, FgqError)):
                predict(seeing_model, photos, tmp_path / "out")
        assert [path.name for path in tmp_path.iterdir()] == ["photos"]
    predict(seeing_model, photos, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "photos"]


def raising(error):
    def write(*_):
        raise error

    return write


def test_vggt_tiny_sees_a_rendered_room(tmp_path):
    """From PNG files: cameras and points as near to the truth as the model's card says it is from tensors."""
    (room,) = fgq.load_scenes("playroom", split="test", count=1, frames=4, seed=0)
    write_scene(room, tmp_path / "room")
    scene = predict(fgq.load_model("vggt-tiny"), tmp_path / "room", tmp_path / "out")
    relative = (scene.depth - room.depth).abs() / room.depth
    assert relative.mean() < 0.08
    error = torch.linalg.vector_norm(scene.points - room.points, dim=-1) / room.points.norm(dim=-1)
    assert error.median() < 0.12
    pixels, _ = project(scene.points, scene.extrinsics, scene.intrinsics)
    y, x = torch.meshgrid(*(torch.arange(64, dtype=torch.float64) + 0.5,) * 2, indexing="ij")
    torch.testing.assert_close(pixels, torch.stack([x, y], -1).expand_as(pixels), atol=1e-6, rtol=0)
