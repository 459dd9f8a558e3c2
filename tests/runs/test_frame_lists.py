"""A run keeps which frames it was made of."""

import json

import numpy as np
import pytest
from PIL import Image

import fgq
from fgq.data.frozen import VARIABLE
from fgq.data.sampling import FrameList
from fgq.errors import FgqError

LOAD = """import fgq
scenes = fgq.load_scenes("realestate10k", root=root, frames=3, size=28)
rooms = fgq.load_scenes("playroom", count=2, frames=2, size=16)
"""


def write_clip(root, times):
    """A camera that slides along x; every picture has a grey of its own."""
    camera = "0.8 0.8 0.5 0.5 0 0 1 0 0 {} 0 1 0 0 0 0 1 0\n"
    lines = [f"{time} {camera.format(time / 10)}" for time in times]
    (root / "test").mkdir(parents=True, exist_ok=True)
    (root / "test" / "clip.txt").write_text("address\n" + "".join(lines))
    folder = root / "frames" / "test" / "clip"
    folder.mkdir(parents=True, exist_ok=True)
    for time in times:
        Image.fromarray(np.full((28, 28, 3), time, np.uint8)).save(folder / f"{time}.png")


@pytest.fixture
def clips(tmp_path):
    write_clip(tmp_path / "clips", range(10, 15))
    return tmp_path / "clips"


def frame_lists(book):
    return json.loads((book.out / "provenance" / "first.json").read_text())["frame_lists"]


def test_a_run_takes_the_same_frames_again_from_a_download_that_grew(fresh_book, clips):
    fresh_book.edit(fresh_book.pages / "first.md", "count = 3", f'root = "{clips}"\ncount = 3')
    fresh_book.edit(fresh_book.pages / "first.md", "import os, sys", f"import os, sys\n{LOAD}")
    fresh_book.execute(only="first")
    kept = frame_lists(fresh_book)
    expected = fgq.load_scenes("realestate10k", root=clips, frames=3, size=28).frame_list
    rooms = fgq.load_scenes("playroom", count=2, frames=2, size=16).frame_list
    assert sorted(kept.values()) == sorted([expected.hash, rooms.hash])
    (file,) = (fresh_book.out / "frames").glob("realestate10k*.json")
    assert FrameList.load(file).sequences == expected.sequences

    write_clip(clips, range(10, 40))
    assert fgq.load_scenes("realestate10k", root=clips, frames=3, size=28).frame_list.hash != expected.hash
    fresh_book.execute(only="first", force=True)
    assert frame_lists(fresh_book) == kept


def test_a_kept_frame_that_is_gone_is_told_instead_of_replaced(clips, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "kept"))
    kept = fgq.load_scenes("realestate10k", root=clips, frames=3, size=28).frame_list
    (file,) = (tmp_path / "kept").iterdir()
    text = file.read_text()
    gone = int(kept.sequences["clip"][1])
    for path in (clips / "frames").rglob("*.png"):
        path.unlink()
    write_clip(clips, [time for time in range(10, 40) if time != gone])
    with pytest.raises(FgqError, match=f"the frame list {file}: clip has no frame {gone}"):
        fgq.load_scenes("realestate10k", root=clips, frames=3, size=28)
    assert file.read_text() == text
    fgq.load_scenes("realestate10k", root=clips, frames=4, size=28)  # another request has a list of its own
    assert len(list((tmp_path / "kept").iterdir())) == 2
