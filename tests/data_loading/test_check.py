import json

import numpy as np
import pytest
from PIL import Image
from writers import co3d, dtu, eth3d, kitti, realestate10k, seven_scenes
from writers.room import build_room

import fgq
from fgq.data import about, dataset_names
from fgq.data.check import check_dataset, listing
from fgq.errors import FgqError

SIZE = (20, 28)


@pytest.fixture
def categories(tmp_path):
    rooms = {name: build_room(i, 12, *SIZE) for i, name in enumerate(("1_1_1", "2_2_2", "3_3_3"))}
    co3d.write(tmp_path, {"ape": {"1_1_1": rooms["1_1_1"], "2_2_2": rooms["2_2_2"]}, "car": {"3_3_3": rooms["3_3_3"]}})
    return tmp_path


def check(root, name="co3d", **options):
    return check_dataset(name, root, progress=False, **options)


def test_a_whole_download_is_counted(categories):
    found = check(categories)
    assert (found.sequences, found.frames, found.problems, found.split) == (3, 30, [], "test")
    loaded = fgq.load_scenes("co3d", root=categories, size=SIZE)
    assert found.frame_list.hash == loaded.frame_list.hash
    assert check(categories, every_frame=True).frames == 36
    part = check(categories, only=("car", "ape/1_1_1"))
    assert (part.sequences, part.frames) == (2, 20) and sorted(part.frame_list.sequences) == ["ape/1_1_1", "car/3_3_3"]
    with pytest.raises(FgqError, match="co3d, split test: holds nothing called cat"):
        check(categories, only=("cat",))


def test_all_problems_are_told_at_once(categories):
    """Each kind that the issue names: missing, unreadable, no rotation, a list that does not exist, copies."""
    images = categories / "ape" / "1_1_1" / "images"
    (images / "frame000001.jpg").unlink()
    (images / "frame000002.jpg").write_bytes(b"no image")
    (images / "frame000004.jpg").write_bytes((images / "frame000003.jpg").read_bytes())
    (categories / "car" / "set_lists" / "set_lists_fewview_dev.json").unlink()
    path = categories / "ape" / "frame_annotations.jgz"
    entries = co3d.read_annotations(path)
    for entry in entries:
        if entry["sequence_name"] == "2_2_2" and entry["frame_number"] in (5, 6):
            entry["viewpoint"]["R"] = (np.array(entry["viewpoint"]["R"]) * 2).tolist()
    co3d.write_annotations(path, entries)
    found = check(categories, every_frame=True)
    told = sorted((problem.sequence, problem.reason.removeprefix(f"{categories}/")) for problem in found.problems)
    turned = "the camera's axes are not a rotation (R Rᵀ is off by 3)"
    assert told == [
        ("ape/1_1_1", "ape/1_1_1/images/frame000001.jpg: no such file"),
        ("ape/1_1_1", next(t for _, t in told if t.startswith("ape/1_1_1/images/frame000002.jpg: is no readable"))),
        ("ape/1_1_1", "its frames 3 and 4 have the same picture"),
        ("ape/2_2_2", f"ape/frame_annotations.jgz: frame 5 of 2_2_2: {turned}"),
        ("ape/2_2_2", f"ape/frame_annotations.jgz: frame 6 of 2_2_2: {turned}"),
        ("car", "car/set_lists/set_lists_fewview_dev.json: no such file"),
    ]  # fmt: skip
    assert found.sequences == 3 and found.frames == 24 - 2 - 2


def test_a_frame_list_is_checked_against_the_disk(categories, tmp_path):
    listed = check(categories).frame_list
    assert check(categories, frame_list=listed).problems == []
    asked = type(listed)("co3d", "test", "made", 0, {"ape/1_1_1": ("1", "99"), "cat/7": ("1",)})
    asked.save(tmp_path / "list.json")
    reasons = [problem.reason for problem in check(categories, frame_list=tmp_path / "list.json").problems]
    source = f"the frame list {tmp_path / 'list.json'}"
    assert reasons == [f"{source}: ape/1_1_1 has no frame 99", f"{source}: cat/7 is not on disk"]
    with pytest.raises(FgqError, match="none.json: this frame list cannot be read"):
        check(categories, frame_list=tmp_path / "none.json")
    with pytest.raises(FgqError, match="list.json: is of co3d, not of dtu"):
        check(categories, "dtu", frame_list=tmp_path / "list.json")


def test_every_layout_passes_as_written(tmp_path):
    rooms = [build_room(index, 3, *SIZE) for index in (0, 1)]
    kinect = build_room(0, 2, 480, 640, focal=(585.0, 585.0))
    scan = build_room(0, 49, 12, 14)
    drive = "2011_09_26_drive_0002_sync"
    writers = {
        "realestate10k": (lambda root: realestate10k.write(root, {"a": build_room(0, 12, *SIZE)}), {}, 10),
        "seven_scenes": (lambda root: seven_scenes.write(root, {"chess": {"seq-03": kinect}}), {"only": ("chess",)}, 1),
        "dtu": (lambda root: dtu.write(root, {"scan1": scan}), {"only": ("scan1",)}, 10),
        "eth3d": (lambda root: eth3d.write(root, {"office": rooms[0]}), {"only": ("office",)}, 1),
        "kitti": (lambda root: kitti.write_selection(root, rooms[1]), {}, 3),
    }
    for name, (write, options, frames) in writers.items():
        write(tmp_path / name)
        found = check(tmp_path / name, name, **options)
        assert (found.problems, found.frames) == ([], frames), name
    kitti.write_video(tmp_path / "kitti", {drive: rooms[0]})
    found = check(tmp_path / "kitti", "kitti", split="video", only=(drive,))
    assert (found.problems, found.frames) == ([], 3)


def test_a_partial_download_names_all_that_is_missing(tmp_path):
    seven_scenes.write(tmp_path, {"chess": {"seq-03": build_room(0, 2, 480, 640, focal=(585.0, 585.0))}})
    found = check(tmp_path, "seven_scenes")
    assert [problem.sequence for problem in found.problems] == "fire heads office pumpkin redkitchen stairs".split()
    assert found.frames == 1


def test_pictures_without_a_layout(tmp_path):
    for name in ("a", "b"):
        Image.fromarray(np.zeros((20, 28, 3), np.uint8)).save(tmp_path / f"{name}.png")
    assert check(tmp_path, "folder").frames == 2
    (tmp_path / "c.png").write_text("text")
    with pytest.raises(FgqError, match="1 of 3 files cannot be read as images: c.png"):
        check(tmp_path, "folder")
    with pytest.raises(FgqError, match="playroom needs nothing: it is rendered: there is nothing on disk to check"):
        check(tmp_path, "playroom")


def test_the_listing_says_what_each_dataset_needs():
    rows = {row[0]: row[1:] for row in listing()}
    assert list(rows) == dataset_names()
    assert set(rows) == {"co3d", "realestate10k", "seven_scenes", "dtu", "eth3d", "kitti", "folder", "playroom"}
    # FACTS: the published frame selections
    assert rows["co3d"][0].startswith("test, val, train: 10 random frames")
    assert rows["realestate10k"][0].startswith("test, train: 10 random frames")
    assert rows["seven_scenes"][0].startswith("test, train: every 200th frame")
    assert rows["dtu"][0].startswith("test, all: every 5th frame from the first on")
    assert rows["eth3d"][0].startswith("training, test: every 5th frame from the first on")
    assert all(needs and licence for *_, needs, licence in rows.values())
    assert all(row[1] and row[2].startswith("frames=N: ") for row in rows.values())
    # FACTS: sequences of the published evaluations
    published = {name: about(name).published for name in rows}
    assert published["co3d"] == {"test": 2506} and published["realestate10k"] == {"test": 1719}
    assert [*published["seven_scenes"].values(), *published["dtu"].values()] == [18, 22]
    assert published["eth3d"] == {"training": 13, "test": 13} and published["kitti"] == {"video": 13, "test": 13}
    assert "Rectified" in about("dtu").needs and about("co3d").licence == "CC BY-NC 4.0"


def test_frame_lists_of_all_datasets_are_plain_json(categories, tmp_path):
    check(categories).frame_list.save(tmp_path / "list.json")
    content = json.loads((tmp_path / "list.json").read_text())
    assert content["rule"] == "10 random frames, in the order of the sequence" and content["seed"] == 42
