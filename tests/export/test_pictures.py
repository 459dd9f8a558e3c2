import numpy as np
import pytest
import torch
from PIL import Image

from fgq.data.scene import Scene
from fgq.errors import FgqError
from fgq.export.pictures import picture_names, write_photos, write_scene


def test_names_are_what_every_reader_takes():
    sources = ["a b.JPG", "c.heic", "d\udce9.png", "e.webp"]
    assert picture_names(sources, "photo") == ["a_b.JPG", "c.heic.png", "d_.png", "e.webp.png"]
    assert picture_names(sources, "model") == ["a_b.png", "c.png", "d_.png", "e.png"]


@pytest.mark.parametrize("sources, size", [(["a b.png", "a_b.png"], "photo"), (["a.jpg", "a.png"], "model")])
def test_two_pictures_of_one_name_are_refused(sources, size):
    with pytest.raises(FgqError, match="several pictures would be called a"):
        picture_names(sources, size)


def test_upright_photos_are_copied_and_others_written_upright(tmp_path):
    from fgq.data.photos import find_sources, read_photos
    from fgq.export import Reconstruction

    place = tmp_path / "in"
    place.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(noise).save(place / "a.jpg")
    Image.fromarray(noise).save(place / "b.png", exif=exif)
    Image.fromarray(noise[..., 0]).save(place / "c.png")
    Image.fromarray(np.dstack([noise, noise[..., 0]])).save(place / "d.webp", lossless=True, exact=True)
    photos = read_photos(find_sources([place]), 32, patch_size=8)
    scene = Reconstruction(photos, *[None] * 6, "depth", None)
    names = picture_names(photos.names, "photo")
    write_photos(scene, names, tmp_path / "out")
    stored = {path.name: path for path in (tmp_path / "out").iterdir()}
    assert sorted(stored) == ["a.jpg", "b.png", "c.png", "d.webp.png"]
    assert stored["a.jpg"].read_bytes() == (place / "a.jpg").read_bytes()
    for name, size in zip(names, photos.sizes, strict=True):
        with Image.open(stored[name]) as file:
            assert file.mode == "RGB" and file.size == size[::-1] and file.getexif().get(274, 1) == 1
    turned = np.asarray(Image.open(stored["b.png"]))
    assert np.array_equal(turned, np.rot90(noise, -1))


def test_a_scene_comes_back_from_its_files(tmp_path):
    images = torch.randint(0, 256, (3, 3, 8, 12), generator=torch.Generator().manual_seed(0))
    paths = write_scene(Scene(name="x", images=images / 255), tmp_path / "room")
    for path, image in zip(paths, images, strict=True):
        assert np.array_equal(np.asarray(Image.open(path)), image.permute(1, 2, 0).numpy())
    with pytest.raises(FgqError, match="is not empty"):
        write_scene(Scene(name="x", images=images / 255), tmp_path / "room")
