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


def test_a_vanished_video_does_not_stop_the_other(root):
    (root / "frames/test" / CLIPS[0] / "50033367.png").unlink()
    with pytest.warns(UserWarning, match="1 of 4 listed frames are missing, the first is 50033367"):
        scenes = load(root)
    assert [scene.name for scene in scenes] == [CLIPS[1]] and scenes.failures[0].sequence == CLIPS[0]


@pytest.mark.parametrize(
    "change, told",
    [
        (lambda lines: [*lines, lines[-1]], "line 6 begins with '50100101', not with a later time"),
        (lambda lines: [*lines[:-1], lines[-1] + " 5.000000000"], "time 50100101: holds 20 numbers, expected 19"),
        (lambda lines: [*lines[:-1], lines[-1][:-4]], "its last number is cut off"),
        (lambda lines: lines[:-1], "holds 3 frames, 4 were asked for"),
        (lambda lines: lines[:1], "lists no frame"),
        (lambda lines: [*lines[:-1], lines[-1].replace(" 0.", " 0.x", 1)], "holds something that is no number"),
    ],
)
def test_a_wrong_camera_file_is_told(root, change, told):
    path = root / "test" / f"{CLIPS[1]}.txt"
    path.write_text("\n".join(change(path.read_text().splitlines())))
    with pytest.warns(UserWarning, match="1 of 2 sequences"):
        scenes = load(root)
    assert scenes.failures[0].sequence == CLIPS[1] and told in scenes.failures[0].reason


def test_a_camera_file_that_ends_without_a_newline_is_complete_by_its_decimals(root):
    for path in (root / "test").iterdir():
        path.write_text(path.read_text().rstrip("\n"))
    assert len(load(root)) == 2


def test_one_picture_of_two_cameras_is_a_copied_file(root):
    folder = root / "frames/test" / CLIPS[0]
    (folder / "50033367.png").write_bytes((folder / "50000000.png").read_bytes())
    with pytest.warns(UserWarning, match="its frames \\d+ and \\d+ have the same picture"):
        assert len(load(root)) == 1


def test_too_few_frames_and_no_clips_are_errors(root, tmp_path):
    with pytest.raises(FgqError, match="2 of 2 sequences cannot be read.*holds 4 frames, 5 were asked for"):
        load(root, frames=5)
    with pytest.raises(FgqError, match="no such folder; realestate10k needs the camera files"):
        load(tmp_path / "none")
    with pytest.raises(FgqError, match="test: this folder cannot be read"):
        load(root / "frames" / "test")
