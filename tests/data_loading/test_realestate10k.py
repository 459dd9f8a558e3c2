import pytest
from writers import realestate10k
from writers.room import build_room

import fgq
from fgq.errors import FgqError

SIZE = (32, 48)
CLIPS = ("0c4c5d5f751aabf5", "00aa11bb22cc33dd")


@pytest.fixture(scope="module")
def rooms():
    return {name: build_room(i, 4, *SIZE) for i, name in enumerate(CLIPS)}


@pytest.fixture
def root(tmp_path, rooms):
    realestate10k.write(tmp_path, rooms)
    return tmp_path


def load(root, **options):
    return fgq.load_scenes("realestate10k", root=root, **({"size": SIZE, "frames": 4} | options))


def test_what_was_written_comes_back(root, rooms, same_as_room):
    scenes = load(root)
    assert [scene.name for scene in scenes] == sorted(CLIPS)
    for scene in scenes:
        same_as_room(scene, rooms[scene.name])
        assert scene.depth is None and scene.points is None and scene.valid is None and scene.unit == "normalised"


def test_chosen_frames_keep_their_cameras(root, rooms, same_as_room):
    scenes = load(root, frames=2)
    for scene in scenes:
        times = [int(time) for time in scenes.frame_list.sequences[scene.name]]
        same_as_room(scene, rooms[scene.name], index=[(time - 50_000_000) // 33_367 for time in times])


def test_a_vanished_video_and_a_wrong_line_are_told(root):
    (root / "frames/test" / CLIPS[0] / "50033367.png").unlink()
    with pytest.warns(UserWarning, match="1 of 4 listed frames are missing, the first is 50033367"):
        assert len(load(root)) == 1
    path = root / "test" / f"{CLIPS[1]}.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[-1]]))
    with pytest.raises(FgqError, match="2 of 2 sequences"):
        load(root)
    path.write_text("\n".join([*lines[:-1], lines[-1] + " 5"]))
    with pytest.warns(UserWarning, match="listed frames are missing"):
        scenes = load(root, frame_list=None, frames=1, seed=0)  # the wrong line is one of four
    assert len(scenes) <= 1
    with pytest.raises(FgqError, match="holds 7 frames|holds 4 frames, 5 were asked for|2 of 2"):
        load(root, frames=5)
