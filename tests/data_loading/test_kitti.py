import pytest
import torch
from writers import kitti
from writers.room import build_room

import fgq
from fgq.errors import FgqError

SIZE = (28, 60)
DRIVES = ("2011_09_26_drive_0002_sync", "2011_09_28_drive_0037_sync")
QUANTUM = 0.5 / 256 + 1e-6


@pytest.fixture(scope="module")
def room():
    return build_room(2, 4, *SIZE)


def load(root, **options):
    return fgq.load_scenes("kitti", root=root, **({"size": SIZE} | options))


def test_selected_images_come_back_one_by_one(tmp_path, room, same_as_room):
    kitti.write_selection(tmp_path, room)
    scenes = load(tmp_path)
    assert len(scenes) == 4 and scenes[1].name == f"{DRIVES[0]}/0000000008_image_02" and scenes[1].unit == "metre"
    for index, scene in enumerate(scenes):
        same_as_room(scene, room, quantum=QUANTUM, index=[index])
        assert torch.equal(scene.valid[0, 0], torch.arange(SIZE[1]) % 3 != 0)
        assert torch.equal(scene.extrinsics, torch.eye(3, 4)[None])


def test_video_comes_back_without_cameras(tmp_path, room, same_as_room):
    kitti.write_video(tmp_path, {name: room for name in DRIVES})
    scenes = load(tmp_path, split="video", drives=DRIVES)
    assert [scene.name for scene in scenes] == [f"{name}/image_02" for name in DRIVES]
    for scene in scenes:
        same_as_room(scene, room, quantum=QUANTUM, cameras=False)
        assert scene.extrinsics is None and scene.points is None and scene.num_frames == 4
    assert load(tmp_path, split="video", drives=DRIVES, frames=3)[0].num_frames == 3


def test_an_image_without_depth_or_the_reverse_is_told(tmp_path, room):
    kitti.write_selection(tmp_path, room)
    folder = tmp_path / "depth_selection/val_selection_cropped"
    min((folder / "image").iterdir()).unlink()
    max((folder / "groundtruth_depth").iterdir()).unlink()
    with pytest.warns(UserWarning, match="2 of 4 sequences"):
        scenes = load(tmp_path)
    assert len(scenes) == 2 and all("no such file" in failure.reason for failure in scenes.failures)


def test_a_gap_or_an_image_of_another_day_is_told(tmp_path, room):
    kitti.write_video(tmp_path, {name: room for name in DRIVES})
    (tmp_path / "val" / DRIVES[0] / "proj_depth/groundtruth/image_02/0000000006.png").unlink()
    with pytest.warns(UserWarning, match="groundtruth/image_02: 0000000006.png is missing"):
        assert len(load(tmp_path, split="video", drives=DRIVES)) == 1
    path = tmp_path / "2011_09_28/calib_cam_to_cam.txt"
    path.write_text(path.read_text().replace("S_rect_02: 6", "S_rect_02: 7"))
    with pytest.raises(FgqError, match="2 of 2 sequences"):
        load(tmp_path, split="video", drives=DRIVES)
