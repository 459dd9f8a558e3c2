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


def levels(scene):
    return (scene.images[:, 0, 0, 0] * 255).round().int().tolist()


def test_with_a_count_the_pictures_are_cut_into_clips_of_neighbours(tmp_path):
    for level in range(7):
        write(tmp_path / f"{level}.png", 16, 16, level)
    clips = load(tmp_path, count=3, frames=3)
    assert [levels(clip) for clip in clips] == [[0, 1, 2], [1, 2, 3], [3, 4, 5]]
    assert [clip.name for clip in clips] == [f"{tmp_path.name}-000{start}" for start in (0, 1, 3)]
    moved = load(tmp_path, count=3, frames=3, seed=2)
    assert [levels(clip) for clip in moved] == [[2, 3, 4], [3, 4, 5], [0, 1, 2]]
    assert levels(load(tmp_path, frames=3, seed=2)[0]) == levels(load(tmp_path, frames=3)[0])
    assert clips.frame_list.sequences[clips[2].name] == ("3.png", "4.png", "5.png")
    assert len(load(tmp_path, count=64)) == 4  # of four frames, and no clip comes twice
    with pytest.raises(FgqError, match="8 frames a clip asked for, but no folder has more than 7 pictures"):
        load(tmp_path, count=2, frames=8)
    with pytest.raises(FgqError, match="count must be a whole number of at least 1, got 0"):
        load(tmp_path, count=0)


def test_another_seed_takes_other_clips_and_always_the_same(tmp_path):
    for level in range(30):
        write(tmp_path / f"{level:02d}.png", 16, 16, level)

    def names(**options):
        return [clip.name for clip in load(tmp_path, count=5, frames=3, **options)]

    drawn = [names(seed=seed) for seed in range(4)]
    assert drawn[0] == names() and drawn[1] == names(seed=1)
    assert len(set(map(tuple, drawn))) == 4 and all(len(set(each)) == 5 for each in drawn)
    assert len(load(tmp_path, count=64, frames=3, seed=1)) == 28  # all that there are
    assert [scene.num_frames for scene in load(tmp_path, frames=4, seed=1)] == [4]  # the whole folder asks for no draw
    with pytest.raises(FgqError, match="folder: seed must be a whole number of at least 0, got -1"):
        load(tmp_path, count=1, seed=-1)


def test_each_folder_of_a_folder_is_a_scene_and_no_clip_reaches_across(tmp_path):
    for folder, first, number in (("kitchen", 0, 3), ("attic", 100, 2), ("cellar", 200, 1)):
        (tmp_path / folder).mkdir()
        for level in range(first, first + number):
            write(tmp_path / folder / f"{level:03d}.png", 16 if folder == "attic" else 8, 16, level)
    scenes = load(tmp_path)
    assert {scene.name: levels(scene) for scene in scenes} == {
        "attic": [100, 101],
        "cellar": [200],
        "kitchen": [0, 1, 2],
    }
    clips = load(tmp_path, count=10, frames=2)
    names = ["attic-0000", "kitchen-0000", "kitchen-0001"]
    assert [clip.name for clip in clips] == names
    assert {tuple(clip.images.shape) for clip in clips} == {(2, 3, 16, 16)}  # a calibration can batch them
    assert [clip.valid is None for clip in clips] == [True, False, False]


def test_pictures_that_cannot_be_read_are_named_all_at_once(tmp_path):
    write(tmp_path / "good.png", 16, 16)
    (tmp_path / "page.png").write_text("hello")
    (tmp_path / "cut.png").write_bytes((tmp_path / "good.png").read_bytes()[:40])
    (tmp_path / "empty.jpg").write_bytes(b"")
    with pytest.raises(FgqError, match="3 of 4 files .*cut.png, page.png .no image.; empty.jpg .empty."):
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
