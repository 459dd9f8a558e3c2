"""Every dataset has a calibration and a test split that share no sequence, in the layouts that people download."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from writers import co3d, dtu, eth3d, kitti, realestate10k, seven_scenes
from writers.room import build_room

import fgq
from fgq.calibrate.log import Quantization
from fgq.data import Scene, about, check_disjoint, dataset_names
from fgq.data.disjoint import Seen
from fgq.data.sampling import FrameList
from fgq.errors import FgqError

SIZE = (20, 28)
DRIVE, OTHER = "2011_09_26_drive_0002_sync", "2011_09_26_drive_0001_sync"


def room(index, frames=5):
    return build_room(index, frames, *SIZE)


def write_co3d(root):
    """Sequence 2_2_2 stands in train and in test, as in the manyview lists."""
    co3d.write(root, {"ape": {"1_1_1": room(0), "2_2_2": room(1), "3_3_3": room(2)}})
    path = root / "ape/set_lists/set_lists_fewview_dev.json"
    listed = json.loads(path.read_text())["test"]
    train, test = (
        [entry for entry in listed if entry[0] in names] for names in (("1_1_1", "2_2_2"), ("2_2_2", "3_3_3"))
    )
    path.write_text(json.dumps({"train": train, "val": [], "test": test}))


def write_realestate10k(root):
    realestate10k.write(root, {"b": room(1), "c": room(2)})
    realestate10k.write(root, {"a": room(0), "b": room(1)}, split="train")


def write_seven_scenes(root):
    first, other = (build_room(index, 1, 480, 640, focal=(585.0, 585.0)) for index in (0, 1))
    seven_scenes.write(root, {"chess": {"seq-03": first, "seq-01": other}})
    (root / "chess/TestSplit.txt").write_text("sequence3\n")
    (root / "chess/TrainSplit.txt").write_text("sequence1\n")


def write_kitti(root):
    kitti.write_video(root, {DRIVE: room(0), OTHER: room(1)})
    (root / "val" / OTHER).rename(root / "elsewhere")  # a drive without any truth


def write_folder(root):
    for name in ("attic", "cellar", "kitchen"):
        write_pictures(root / name, 4)


def write_pictures(folder, number):
    folder.mkdir(parents=True)
    for index in range(number):
        noise = np.random.default_rng([index, *folder.name.encode()]).integers(0, 256, (20, 28, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{index}.png")


# What is written, what both splits are asked with, and the sequences that the calibration then has.
LAYOUTS = {
    "co3d": (write_co3d, {"frames": 4}, {"ape/1_1_1"}),
    "realestate10k": (write_realestate10k, {"frames": 4}, {"a"}),
    "seven_scenes": (write_seven_scenes, {"scenes": ("chess",), "frames": 1}, {"chess/seq-01"}),
    "dtu": (lambda root: dtu.write(root, {"scan1": room(0), "scan2": room(0)}), {"views": 5, "frames": 4}, {"scan2"}),
    "eth3d": (lambda root: eth3d.write(root, {"office": room(0), "lounge": room(1)}), {"frames": 4}, {"lounge"}),
    "kitti": (write_kitti, {"frames": 4}, {f"{OTHER}/image_02"}),
    "folder": (write_folder, {"patch_size": 1}, {"attic"}),
}


@pytest.mark.parametrize("name", dataset_names())
def test_every_dataset_has_both_splits(name):
    assert {"calibration", "test"} <= set(about(name).rules)


@pytest.mark.filterwarnings("ignore::fgq.data.loaded.UnreadableSequences")  # of the test scenes that were not written
@pytest.mark.parametrize("name", LAYOUTS)
def test_the_splits_of_a_download_share_no_sequence(name, tmp_path):
    write, options, expected = LAYOUTS[name]
    write(tmp_path)
    both = {
        split: fgq.load_scenes(name, root=tmp_path, split=split, size=SIZE, **options)
        for split in ("calibration", "test")
    }
    assert {scene.name for scene in both["calibration"]} == expected and both["test"]
    for split, scenes in both.items():
        assert scenes.frame_list.split == split and {scene.split for scene in scenes} == {split}
    sequences = [{scene.sequence for scene in scenes} for scenes in both.values()]
    assert not sequences[0] & sequences[1] and "" not in sequences[0] | sequences[1]
    assert {scene.num_frames for scene in both["calibration"]} == {options.get("frames", 4)}
    check_disjoint(both["calibration"], both["test"])
    with pytest.raises(FgqError, match=f"scene .* is also a calibration scene .* of {name}, split test"):
        check_disjoint(both["test"], both["test"])


@pytest.mark.filterwarnings("ignore::fgq.data.loaded.UnreadableSequences")
@pytest.mark.parametrize("name", [*LAYOUTS, "playroom"])
def test_one_setting_cell_serves_every_dataset(name, tmp_path):
    """What the book's chapters ask, with nothing that only one dataset knows; frames, where they are fewer, follow."""
    write, own, _ = LAYOUTS.get(name, (lambda root: None, {}, None))
    write(tmp_path)
    own = {option: value for option, value in own.items() if option not in ("frames", "patch_size")}  # the writers'
    setting = {
        "size": 14,
        "root": None if name == "playroom" else tmp_path,
        "frames": 1 if name == "seven_scenes" else 2,
    }
    for seed in (0, 1):
        calibration, test = (
            fgq.load_scenes(name, split=split, count=count, seed=seed, **setting, **own)
            for split, count in (("calibration", 1), ("test", None if name in ("dtu", "eth3d", "kitti") else 1))
        )
        check_disjoint(calibration, test)
        for scenes in (calibration, test):
            assert {scene.num_frames for scene in scenes} == {setting["frames"]}
            assert scenes[0].images.shape[-1] == 14 and scenes.frame_list.seed == seed


def test_a_calibration_list_cannot_name_a_test_sequence(tmp_path):
    write_co3d(tmp_path)
    listed = FrameList("co3d", "calibration", "by hand", 0, {"ape/1_1_1": ("1", "2"), "ape/2_2_2": ("1", "2")})
    with pytest.warns(UserWarning, match="the frame list: ape/2_2_2 is not on disk, or is of the test"):
        assert len(fgq.load_scenes("co3d", root=tmp_path, size=SIZE, frame_list=listed)) == 1


def test_a_download_of_test_scenes_alone_calibrates_nothing(tmp_path):
    dtu.write(tmp_path, {"scan1": room(0, 3)})
    with pytest.raises(FgqError, match="holds no sequence of dtu, split calibration that is not of the test; it needs"):
        fgq.load_scenes("dtu", root=tmp_path, split="calibration", views=3)


def test_a_single_folder_is_cut_into_two_parts(tmp_path):
    write_pictures(tmp_path / "photos", 7)
    options = {"root": tmp_path / "photos", "size": SIZE, "patch_size": 1}
    first, last = (fgq.load_scenes("folder", split=split, **options) for split in ("calibration", "test"))
    whole = fgq.load_scenes("folder", **options)
    assert torch.equal(torch.cat([first[0].images, last[0].images]), whole[0].images)
    assert first.frame_list.sequences == {"photos-calibration": ("0.png", "1.png", "2.png")}
    check_disjoint(first, last)
    few = fgq.load_scenes("folder", count=1, frames=2, **options)  # two pictures of the whole, in a clip of their own
    for calibration, test in ((first, whole), (whole, last), (few, last), (last, few)):
        with pytest.raises(FgqError, match="is also a calibration scene"):
            check_disjoint(calibration, test)
    (tmp_path / "photos").rename(tmp_path / "moved")
    with pytest.raises(FgqError, match="scene moved is also a calibration scene .photos-calibration of folder"):
        check_disjoint(first, fgq.load_scenes("folder", **options | {"root": tmp_path / "moved"}))
    with pytest.raises(FgqError, match="a single picture cannot be split into calibration and test"):
        fgq.load_scenes("folder", split="test", **options | {"root": tmp_path / "moved" / "0.png"})


def test_the_same_drive_is_one_sequence_whatever_its_frames(tmp_path):
    kitti.write_selection(tmp_path, room(0))
    write_kitti(tmp_path)
    selected = fgq.load_scenes("kitti", root=tmp_path, split="selection", size=SIZE)
    video = fgq.load_scenes("kitti", root=tmp_path, split="video", drives=(DRIVE,), size=SIZE, frames=2)
    with pytest.raises(FgqError, match=f"scene {DRIVE}/image_02 is also a calibration scene"):
        check_disjoint(selected, video)


def test_rooms_are_told_by_their_names_and_scenes_by_hand_by_their_pictures():
    def rooms(**options):
        return fgq.load_scenes("playroom", **{"split": "calibration", "size": 8} | options)

    check_disjoint(rooms(count=2), rooms(split="test", count=2))
    check_disjoint(rooms(count=2), rooms(count=2, seed=1))
    with pytest.raises(FgqError, match="scene playroom-calibration-0-00000 is also a calibration scene"):
        check_disjoint(rooms(frames=2), rooms(frames=3))  # other frames of the same room
    by_hand = Scene("mine", rooms(frames=2)[0].images)
    check_disjoint([by_hand], [Scene("mine", by_hand.images + 0.001)])
    with pytest.raises(FgqError, match="scene mine is also a calibration scene"):
        check_disjoint(rooms(frames=2), [by_hand])


def test_a_model_keeps_what_it_saw_and_is_not_tested_on_it(toy_model, tmp_path):
    clips = fgq.load_scenes("playroom", split="calibration", count=2, frames=2, size=16)
    test = fgq.load_scenes("playroom", split="test", count=1, frames=2, size=16)
    small = fgq.quantize(toy_model, clips, recipe="rtn", progress=False)
    small.save(tmp_path / "small")
    loaded = fgq.load_model(tmp_path / "small")
    seen = loaded.quantization.seen
    assert seen == small.quantization.seen == Seen.of(clips) and seen.frame_list == clips.frame_list.hash
    assert [scene.name for scene in seen.scenes] == [clip.name for clip in clips]
    row = fgq.evaluate(loaded, test, progress=False).frame.iloc[0]
    assert (row.split, row.calibration) == ("test", "playroom calibration")
    assert row.calibration_list == clips.frame_list.hash[:16] and row.frame_list == test.frame_list.hash[:16]
    with pytest.raises(FgqError, match="scene playroom-calibration-0-00001 is also a calibration scene"):
        fgq.evaluate(loaded, [*test, clips[1]], progress=False)
    older = small.quantization.to_dict()
    del older["seen"]
    assert Quantization.from_dict(older).seen == Seen()


def test_a_command_never_calibrates_on_the_test_split(tmp_path, toy_model):
    """The loader's own default is the test split; a download of that alone must not be taken for a calibration."""
    from fgq.commands.cli import scenes_of

    write_co3d(tmp_path)
    usual = {"split": "calibration", "count": 1, "frames": 4, "seed": 0}
    (scene,) = scenes_of("co3d", toy_model, usual, {"root": tmp_path})
    assert (scene.name, scene.split) == ("ape/1_1_1", "calibration")
    (tmp_path / "ape/set_lists/set_lists_fewview_dev.json").write_text('{"train": [], "test": []}')
    with pytest.raises(FgqError, match="split calibration"):
        scenes_of("co3d", toy_model, usual, {"root": tmp_path})


@pytest.mark.parametrize(
    "name, options, told",
    [
        ("playroom", {"count": 100_000_000_000}, "count 100000000000 is more than 100000, the most at once"),
        ("playroom", {"frames": 10_000_000}, "frames 10000000 is more than 10000"),
        ("folder", {"frames": 10_000_000}, "frames 10000000 is more than 10000"),
        ("co3d", {"count": 100_000_000_000}, "count 100000000000 is more than"),
        ("playroom", {"count": 100_000, "frames": 10_000}, "are more than 1000000000 pixels"),
        ("playroom", {"size": 10**9}, "size 1000000000 is more than 16384 pixels"),
        ("playroom", {"size": -8}, "size must be a number of pixels or .height, width., got -8"),
        ("playroom", {"size": "8"}, "size must be a number of pixels"),
        ("playroom", {"size": (8, 8, 8)}, "size must be a number of pixels"),
        ("playroom", {"seed": -1}, "seed must be a whole number of at least 0, got -1"),
        ("playroom", {"seed": 1.5}, "seed must be a whole number"),
        ("folder", {"size": 14 * 10**8}, "size 1400000000 is more than 16384 pixels"),
        ("folder", {"size": -14}, "size must be a number of pixels"),
        ("folder", {"size": "14"}, "size must be a number of pixels"),
        ("realestate10k", {"size": 14 * 10**8, "split": "train"}, "size 1400000000 is more than 16384 pixels"),
    ],
)
def test_what_would_take_days_is_refused_at_once(name, options, told, tmp_path):
    Image.new("RGB", (28, 20)).save(tmp_path / "a.png")
    if name == "realestate10k":
        realestate10k.write(tmp_path, {"a": room(0, 10)}, split="train")
    root = {} if name == "playroom" else {"root": tmp_path}
    with pytest.raises(FgqError, match=told):
        fgq.load_scenes(name, **root, **options)
