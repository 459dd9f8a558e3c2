import numpy as np
import pytest
import torch
from PIL import Image

import fgq
from fgq.errors import FgqError


def write(path, height, width, level=128):
    Image.fromarray(np.full((height, width, 3), level, dtype=np.uint8)).save(path)


def load(root, **options):
    return fgq.load_scenes("folder", root=root, **({"size": 16, "patch_size": 8} | options))


def test_images_come_in_the_order_of_their_names(tmp_path):
    for name, level in (("b.png", 51), ("a.jpg", 0), ("c.PNG", 255)):
        write(tmp_path / name, 16, 16, level)
    (tmp_path / ".hidden").write_text("passed over")
    (scene,) = load(tmp_path)
    assert scene.name == tmp_path.name and scene.dataset == "folder"
    torch.testing.assert_close(scene.images[:, 0, 8, 8], torch.tensor([0, 0.2, 1.0]))


def test_images_of_several_shapes_share_the_largest_height(tmp_path):
    write(tmp_path / "a.png", 40, 40)
    write(tmp_path / "b.png", 20, 40)
    (scene,) = load(tmp_path)
    assert scene.images.shape == (2, 3, 16, 16)
    assert scene.valid.flatten(1).sum(1).tolist() == [16 * 16, 8 * 16]
    (scene,) = load(tmp_path, size=(24, 16))
    assert scene.images.shape == (2, 3, 24, 16) and scene.valid is None


def test_one_image_is_a_scene_of_one_frame(tmp_path):
    write(tmp_path / "a.png", 40, 40)
    assert load(tmp_path / "a.png")[0].images.shape == (1, 3, 16, 16)


def test_frames_are_spread_over_the_folder(tmp_path):
    for level in range(6):
        write(tmp_path / f"{level}.png", 16, 16, level)
    images = load(tmp_path, frames=3)[0].images
    assert (images[:, 0, 0, 0] * 255).round().tolist() == [0, 2, 4]
    with pytest.raises(FgqError, match="7 frames asked for, but there are 6 pictures"):
        load(tmp_path, frames=7)


def test_files_that_are_no_images_are_named_all_at_once(tmp_path):
    write(tmp_path / "good.png", 16, 16)
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "cut.png").write_bytes((tmp_path / "good.png").read_bytes()[:40])
    (tmp_path / "empty.jpg").write_bytes(b"")
    with pytest.raises(FgqError, match="3 of 4 files .*cut.png, notes.txt .no image.; empty.jpg .empty."):
        load(tmp_path)


def test_a_missing_root_or_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(FgqError, match="needs root="):
        fgq.load_scenes("folder")
    with pytest.raises(FgqError, match="no such folder"):
        load(tmp_path / "none")
    with pytest.raises(FgqError, match="holds no images"):
        load(tmp_path)


def test_a_folder_feeds_the_model(tmp_path, toy_model):
    for index in range(2):
        write(tmp_path / f"{index}.png", 20, 30)
    images = load(tmp_path)[0].images
    assert toy_model(images).depth.shape == (1, 2, *images.shape[-2:], 1)
