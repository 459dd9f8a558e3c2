import numpy as np
import pytest
import torch
from PIL import Image

from fgq.data.images import Crop, crop_to_size, crop_to_width, open_image, to_tensor
from fgq.errors import FgqError


@pytest.mark.parametrize(
    "height, width, resized, window",
    [
        (480, 640, (392, 518), (392, 518)),  # 388.5 pixels are 27.75 patches: 28
        (640, 480, (686, 518), (518, 518)),  # higher than wide: cut to a square
        (518, 518, (518, 518), (518, 518)),
        (1, 1000, (14, 518), (14, 518)),  # never less than one patch
    ],
)
def test_width_is_met_and_height_is_whole_patches(height, width, resized, window):
    crop = crop_to_width(height, width, target=518, patch_size=14)
    assert (crop.resized, crop.window) == (resized, window)


def test_a_width_that_patches_do_not_tile_is_refused():
    with pytest.raises(FgqError, match="size 64 is not a multiple of the patch size 14"):
        crop_to_width(10, 10, target=64, patch_size=14)


def test_a_given_size_is_covered_then_cut_in_the_middle():
    crop = crop_to_size(100, 200, (56, 56))
    assert crop.resized == (56, 112) and crop.window == (56, 56)
    assert (crop.top, crop.left) == (0, 28)
    assert crop.scale == (0.56, 0.56)


def test_the_window_is_cut_where_the_crop_says():
    pixels = np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3)
    cut = to_tensor(Image.fromarray(pixels), Crop((6, 4), (2, 4), (1.0, 1.0)))
    torch.testing.assert_close(cut, torch.from_numpy(pixels[2:4]).permute(2, 0, 1) / 255)


def test_a_turned_photo_is_shown_upright(tmp_path):
    upright = np.zeros((2, 3, 3), dtype=np.uint8)
    upright[0, 0] = 255
    exif = Image.Exif()
    exif[274] = 6  # orientation: turn a quarter clockwise to show
    Image.fromarray(np.rot90(upright).copy()).save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(np.asarray(open_image(tmp_path / "turned.png")), upright)


def test_what_is_transparent_becomes_white(tmp_path):
    pixels = np.array([[[10, 20, 30, 0], [10, 20, 30, 255], [0, 0, 0, 51]]], dtype=np.uint8)
    Image.fromarray(pixels, "RGBA").save(tmp_path / "clear.png")
    assert np.asarray(open_image(tmp_path / "clear.png")).tolist() == [[[255] * 3, [10, 20, 30], [204] * 3]]


def test_grey_and_sixteen_bit_images_become_rgb(tmp_path):
    Image.fromarray(np.array([[0, 7, 255]], dtype=np.uint8)).save(tmp_path / "grey.png")
    Image.fromarray(np.array([[0, 257 * 7, 65535]], dtype=np.uint16)).save(tmp_path / "deep.png")
    for name in ("grey.png", "deep.png"):
        assert np.asarray(open_image(tmp_path / name)).tolist() == [[[0] * 3, [7] * 3, [255] * 3]]
