"""What else lies in a folder of photos: other files, pipes, links to nowhere, names that are no UTF-8."""

import os
import socket
import struct
import warnings

import numpy as np
import pytest
from PIL import Image

import fgq
from fgq.data.photos import StrayFiles, find_sources, read_photos
from fgq.errors import FgqError

NOT_UTF8 = os.fsdecode(b"caf\xe9.png")


@pytest.fixture
def photos(tmp_path):
    for index in range(2):
        Image.new("RGB", (28, 28), (index, 0, 0)).save(tmp_path / f"{index}.png")
    return tmp_path


def read(place):
    return read_photos(find_sources([place]), size=28)


def test_strays_are_left_out_and_counted(photos):
    for name in ("log", "notes.txt", "Thumbs.db", "take.cr2"):
        (photos / name).write_text("no picture")
    with pytest.warns(StrayFiles) as told:
        assert read(photos).names == ["0.png", "1.png"]
    (warning,) = told
    assert str(warning.message) == (
        f"{photos}: 4 entries are no picture or video by name and left out: Thumbs.db, log, notes.txt, …"
    )
    with pytest.warns(StrayFiles):
        (scene,) = fgq.load_scenes("folder", root=photos, size=28)
    assert scene.num_frames == 2


def test_a_folder_without_strays_warns_of_nothing(photos):
    (photos / ".hidden").write_text("passed over")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(photos)


def test_a_folder_of_strays_alone_says_so(tmp_path):
    (tmp_path / "log").write_text("no picture")
    with pytest.raises(FgqError, match="holds no images: log: 1 entry is no picture or video by name"):
        read(tmp_path)


def test_a_stray_among_folders_hides_no_folder(tmp_path):
    for name in ("attic", "cellar"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (28, 28)).save(tmp_path / name / "0.png")
    (tmp_path / "notes.txt").write_text("hello")
    assert [scene.name for scene in fgq.load_scenes("folder", root=tmp_path, size=28)] == ["attic", "cellar"]


def test_what_is_no_file_is_named_and_nothing_waits_for_it(photos, monkeypatch):
    os.mkfifo(photos / "pipe.png")
    os.mkfifo(photos / "pipe.mp4")
    (photos / "link.jpg").symlink_to(photos / "nowhere.jpg")
    (photos / "device.png").symlink_to("/dev/zero")
    (photos / "folder.png").mkdir()
    monkeypatch.chdir(photos)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.png")
        with pytest.raises(FgqError, match="pipe.mp4: is a pipe, not a file"):
            find_sources([photos])
        (photos / "pipe.mp4").unlink()
        with pytest.raises(FgqError) as told:
            read(photos)
    with pytest.raises(FgqError, match="files cannot be read"):
        fgq.load_scenes("folder", root=photos, size=28)
    message = str(told.value)
    assert message.startswith(f"{photos}: 5 of 7 files cannot be read as images: ") and "\n" not in message
    for name, state in {
        "pipe.png": "is a pipe, not a file",
        "link.jpg": "is a link that leads nowhere",
        "device.png": "is a device, not a file",
        "folder.png": "is a folder, not a file",
        "socket.png": "is a socket, not a file",
    }.items():
        assert f"{name} ({state})" in message
    with pytest.raises(FgqError, match="pipe.png: is a pipe, not a file"):
        read(photos / "pipe.png")
    with pytest.raises(FgqError, match="link.jpg: is a link that leads nowhere"):
        read(photos / "link.jpg")


def float_tiff(channels):
    """A whole little-endian TIFF of 2 × 2 pixels of float32, `channels` each, written from its definition."""
    tags = [(256, 3, 1, 2), (257, 3, 1, 2), (258, 3, 1, 32), (259, 3, 1, 1), (262, 3, 1, 2 if channels == 3 else 1)]
    tags += [(273, 4, 1, 8), (277, 3, 1, channels), (278, 3, 1, 2), (279, 4, 1, 16 * channels), (339, 3, 1, 3)]
    pixels = struct.pack(f"<{4 * channels}f", *[0.5] * (4 * channels))
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return struct.pack("<2sHI", b"II", 42, 8 + len(pixels)) + pixels + struct.pack("<H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize(
    "write, told",
    [
        (lambda path: path.write_bytes(float_tiff(1)), "floating-point pixels, of which nobody knows what is white"),
        (lambda path: path.write_bytes(float_tiff(3)), "one of a kind that is not read: save it with 8 or 16 bits"),
        (lambda path: Image.fromarray(np.full((2, 2), 70_000, np.int32)).save(path), "pixels of 32 bits, of which"),
    ],
)
def test_a_tiff_whose_white_nobody_knows_is_not_called_damaged(tmp_path, write, told):
    write(tmp_path / "a.tif")
    with pytest.raises(FgqError, match=told) as error:
        read(tmp_path)
    assert "truncated or damaged" not in str(error.value)


def test_a_name_that_is_no_utf8_is_read_and_can_be_printed(photos):
    (photos / "0.png").rename(photos / NOT_UTF8)
    found = read(photos)
    assert found.names == ["1.png", "caf\\udce9.png"] and all(name.encode() for name in found.names)
    (photos / NOT_UTF8).write_bytes(b"")
    with pytest.raises(FgqError, match=r"caf\\udce9.png \(empty\)") as told:
        read(photos)
    assert str(told.value).encode()
    (photos / NOT_UTF8).rename(photos / os.fsdecode(b"caf\xe9.mp4"))
    with pytest.raises(FgqError, match=r"caf\\udce9.mp4: not a readable video") as told:
        read(photos)
    assert str(told.value).encode()
