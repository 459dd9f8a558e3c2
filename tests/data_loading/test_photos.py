"""Preprocessing against the rules the public VGGT states, bad files, and where pixels go."""

import numpy as np
import pytest
import torch
from PIL import Image

from fgq.data.photos import find_sources, read_photos
from fgq.errors import FgqError

NOISE = np.random.default_rng(0)


def write(path, height, width, **options):
    pixels = NOISE.integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


def published(image: Image.Image, mode: str, target: int = 518, patch: int = 14) -> np.ndarray:
    """The published preprocessing of one picture before mixed sizes are padded: [H, W, 3], 0 to 255."""
    width, height = image.size
    if mode == "crop" or width >= height:
        new_width, new_height = target, round(height * (target / width) / patch) * patch
    else:
        new_width, new_height = round(width * (target / height) / patch) * patch, target
    pixels = np.asarray(image.resize((new_width, new_height), Image.Resampling.BICUBIC))
    if mode == "crop":
        start = max(0, (new_height - target) // 2)
        return pixels[start : start + target]
    return white_around(pixels, target, target)


def white_around(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    canvas = np.full((height, width, 3), 255, dtype=np.uint8)
    top, left = (height - pixels.shape[0]) // 2, (width - pixels.shape[1]) // 2
    canvas[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return canvas


SHAPES = [(40, 40), (30, 53), (53, 30), (100, 20), (28, 27), (27, 28), (225, 222), (36, 48)]


@pytest.mark.parametrize("mode", ["crop", "pad"])
@pytest.mark.parametrize("shapes", [[shape] for shape in SHAPES] + [SHAPES])
def test_preprocessing_is_the_published_one(tmp_path, shapes, mode):
    files = [write(tmp_path / f"{i}.png", *shape) for i, shape in enumerate(shapes)]
    photos = read_photos(find_sources(files), size=56, patch_size=14, mode=mode)
    single = [published(Image.open(file), mode, target=56) for file in files]
    height, width = (max(pixels.shape[side] for pixels in single) for side in (0, 1))
    truth = np.stack([white_around(pixels, height, width) for pixels in single])
    assert np.array_equal((photos.images * 255).round().byte().permute(0, 2, 3, 1).numpy(), truth)


def test_what_is_padded_is_not_covered(tmp_path):
    files = [write(tmp_path / "low.png", 20, 56), write(tmp_path / "tall.png", 80, 56)]
    photos = read_photos(find_sources(files), size=56, patch_size=14)
    low, tall = photos.covered()
    assert tall.all()
    assert low.sum() == 14 * 56 and low[21:35].all()
    assert (photos.images[0][:, ~low] == 1).all()


@pytest.mark.parametrize("mode, size", [("crop", 56), ("pad", 56), ("crop", (28, 56)), ("pad", (28, 56))])
@pytest.mark.parametrize("height, width", [(120, 180), (180, 120), (77, 301)])
def test_a_mark_is_found_where_the_crop_says(tmp_path, height, width, mode, size):
    """The centre of gravity of a dark square in the window, taken back to the file, is the square's own centre."""
    pixels = np.full((height, width, 3), 255, dtype=np.uint8)
    y, x, side = height // 2 + 9, width // 2 - 14, 20
    pixels[y : y + side, x : x + side] = 0
    Image.fromarray(pixels).save(tmp_path / "mark.png")
    photos = read_photos(find_sources([tmp_path]), size=size, patch_size=14, mode=mode)
    darkness = 1 - photos.images[0, 0].double()
    rows, columns = torch.meshgrid(*(torch.arange(n) + 0.5 for n in darkness.shape), indexing="ij")
    centre = torch.stack([(darkness * columns).sum(), (darkness * rows).sum()]) / darkness.sum()
    found = photos.crops[0].to_file(centre)
    assert (found - torch.tensor([x + side / 2, y + side / 2])).abs().max() < 0.25


def test_intrinsics_of_the_file_see_the_same_ray(tmp_path):
    write(tmp_path / "a.png", 301, 77)
    crop = read_photos(find_sources([tmp_path]), size=56, patch_size=14).crops[0]
    window = torch.tensor([[50.0, 0, 28], [0, 60.0, 30], [0, 0, 1]], dtype=torch.float64)
    whole = crop.file_intrinsics(window)
    ray = torch.tensor([0.3, -0.4, 1.0], dtype=torch.float64)
    torch.testing.assert_close(crop.to_file((window @ ray)[:2]), (whole @ ray)[:2])
    assert whole[2].tolist() == [0, 0, 1] and whole[0, 1] == whole[1, 0] == 0


def test_every_bad_file_is_named_under_its_reason(tmp_path):
    for suffix in ("png", "jpg", "webp", "tif"):
        file = write(tmp_path / f"cut.{suffix}", 40, 40)
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    write(tmp_path / "good.png", 40, 40)
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "notes.jpg").write_text("hello")
    (tmp_path / "page.png").write_text("<html>")
    with pytest.raises(FgqError) as told:
        read_photos(find_sources([tmp_path]), size=56)
    message = str(told.value)
    assert message.startswith(f"{tmp_path}: 7 of 8 files") and "\n" not in message and "good" not in message
    assert "empty.jpg (empty)" in message and "notes.jpg, page.png (no image)" in message
    assert all(f"cut.{suffix}" in message for suffix in ("png", "jpg", "webp", "tif"))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "webp", "png"])
def test_every_orientation_tag_comes_out_upright(tmp_path, orientation, suffix):
    """The stored raster is what the tag's definition says: undo its turn by hand and save it with the tag."""
    upright = np.zeros((32, 48, 3), dtype=np.uint8)
    upright[:16, :24] = (255, 0, 0)
    upright[:16, 24:] = (0, 255, 0)
    upright[16:, :24] = (0, 0, 255)
    stored = {
        1: upright,
        2: upright[:, ::-1],  # mirrored left to right
        3: upright[::-1, ::-1],  # upside down
        4: upright[::-1],  # mirrored top to bottom
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),  # shown after a quarter clockwise
        7: upright.transpose(1, 0, 2)[::-1, ::-1],
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / f"a.{suffix}", exif=exif, quality=95)
    photos = read_photos(find_sources([tmp_path]), size=48, patch_size=8)
    assert photos.sizes == ((32, 48),)
    corners = photos.images[0][:, [6, 6, 26, 26], [6, 40, 6, 40]].T
    truth = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]])
    assert (corners - truth).abs().max() < 0.1


def test_pictures_come_again_at_their_own_size(tmp_path):
    files = [write(tmp_path / "a.png", 31, 47), write(tmp_path / "b.png", 20, 20)]
    photos = read_photos(find_sources([tmp_path]), size=56)
    again = list(photos.full_size())
    assert [image.size for image in again] == [(47, 31), (20, 20)]
    assert np.array_equal(np.asarray(again[0]), np.asarray(Image.open(files[0])))


def test_places_may_be_files_and_folders(tmp_path):
    (tmp_path / "more").mkdir()
    write(tmp_path / "one.png", 20, 20)
    for name in ("b.png", "a.png"):
        write(tmp_path / "more" / name, 20, 20)
    sources = find_sources([tmp_path / "one.png", tmp_path / "more"])
    assert [source.name for source in sources] == ["one.png", "a.png", "b.png"]


@pytest.mark.parametrize("size", [0, -14, 50, (28, 50), (28,)])
def test_a_size_that_cannot_be_is_no_fault_of_the_files(tmp_path, size):
    write(tmp_path / "a.png", 20, 20)
    with pytest.raises(FgqError, match="size"):
        read_photos(find_sources([tmp_path]), size=size)


def test_an_unknown_mode_is_refused(tmp_path):
    write(tmp_path / "a.png", 20, 20)
    with pytest.raises(FgqError, match="mode 'stretch' is not one of crop, pad"):
        read_photos(find_sources([tmp_path]), mode="stretch")


def test_heic_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    (tmp_path / "a.heic").write_bytes(b"....ftypheic")
    (tmp_path / "empty.png").touch()
    with pytest.raises(FgqError, match=r"a.heic \(HEIC photos need the package pillow-heif.*; empty.png \(empty\)"):
        read_photos(find_sources([tmp_path]))


def test_heic_is_read_where_its_package_is(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    pixels = np.full((32, 48, 3), 200, dtype=np.uint8)
    pixels[:, :24] = 50
    exif = Image.Exif()
    exif[274] = 6
    image = Image.fromarray(pixels)
    image.info["exif"] = exif.tobytes()  # the writer turns it into the container's own rotation
    image.save(tmp_path / "a.heic", quality=95)
    photos = read_photos(find_sources([tmp_path]), size=32, patch_size=8, mode="pad")
    assert photos.sizes == ((48, 32),)  # a quarter clockwise: the dark left side is now above
    assert photos.images[0, 0, 4, 16] < 0.3 and photos.images[0, 0, 28, 16] > 0.7
