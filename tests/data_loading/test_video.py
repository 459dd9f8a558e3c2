"""Frames of videos: which ones, which way up, and what is said of files that are none."""

import struct
import sys
from fractions import Fraction

import numpy as np
import pytest

from fgq.data.photos import find_sources, read_photos
from fgq.errors import FgqError


@pytest.fixture
def film(tmp_path):
    """Writes a film of `count` grey frames, each brighter than the one before, at 10 frames a second."""
    av = pytest.importorskip("av")

    def write(count: int = 30, name: str = "film.mp4"):
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream("mpeg4", rate=10)
            stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
            stream.time_base, stream.bit_rate = Fraction(1, 10), 4_000_000
            for number in range(count):
                frame = av.VideoFrame.from_ndarray(np.full((32, 48, 3), 8 * number, dtype=np.uint8), format="rgb24")
                frame.pts = number
                for packet in stream.encode(frame):
                    container.mux(packet)
            for packet in stream.encode():
                container.mux(packet)
        return tmp_path / name

    return write


@pytest.mark.parametrize("rate, numbers", [(1, [0, 10, 20]), (2.5, [0, 4, 8, 12, 16, 20, 24, 28]), (1e6, range(30))])
def test_frames_come_at_the_rate(film, rate, numbers):
    sources = find_sources([film()], rate)
    photos = read_photos(sources, size=48, patch_size=8)
    levels = photos.images[:, 0].mean(dim=(1, 2)) * 255 / 8
    assert len(levels) == len(numbers) and np.abs(levels.numpy() - np.array(numbers)).max() < 0.4
    assert photos.names[:2] == ["film_0000.png", "film_0001.png"]
    again = [np.asarray(image).mean() / 8 for image in photos.full_size()]
    assert np.abs(np.array(again) - levels.numpy()).max() < 0.4


def test_a_phone_held_upright_gives_upright_frames(film, tmp_path):
    """The track's matrix turns what is shown a quarter clockwise: (x, y) in the raster is shown at (-y, x)."""
    av = pytest.importorskip("av")
    path = tmp_path / "phone.mp4"
    pixels = np.zeros((32, 48, 3), dtype=np.uint8)
    pixels[:, :24] = 255
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=1)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for packet in [*stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")), *stream.encode()]:
            container.mux(packet)
    unturned, turned = (
        struct.pack(
            ">9i", *(round(value * one) for value, one in zip(matrix, [1 << 16, 1 << 16, 1 << 30] * 3, strict=True))
        )
        for matrix in ([1, 0, 0, 0, 1, 0, 0, 0, 1], [0, 1, 0, -1, 0, 0, 0, 0, 1])
    )
    stored = path.read_bytes()
    track = stored.index(b"tkhd")
    path.write_bytes(stored[:track] + stored[track:].replace(unturned, turned, 1))
    photos = read_photos(find_sources([path]), size=32, patch_size=8, mode="pad")
    assert photos.sizes == ((48, 32),)
    assert photos.images[0, 0, 4, 16] > 0.9 and photos.images[0, 0, 28, 16] < 0.1  # the bright left side is above


def test_a_truncated_film_is_named(film):
    path = film()
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(FgqError, match="film.mp4"):
        read_photos(find_sources([path], 5))


def test_a_film_that_is_none_is_named(film, tmp_path):
    (tmp_path / "page.mp4").write_text("<html>")
    with pytest.raises(FgqError, match="page.mp4: not a readable video"):
        find_sources([tmp_path / "page.mp4"])


@pytest.mark.parametrize("rate", [0, -1, float("nan")])
def test_a_rate_must_be_above_zero(tmp_path, rate):
    (tmp_path / "a.mp4").touch()
    with pytest.raises(FgqError, match="is not above 0"):
        find_sources([tmp_path / "a.mp4"], rate)


def test_without_the_package_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "a.mp4").touch()
    with pytest.raises(FgqError, match=r"a.mp4: videos need the package av: pip install av"):
        find_sources([tmp_path])
