import numpy as np
import pytest
import torch
from writers import seven_scenes
from writers.room import build_room

import fgq
from fgq.errors import FgqError

SIZE = (480, 640)


@pytest.fixture(scope="module")
def room():
    return build_room(0, 3, *SIZE, focal=(585.0, 585.0))


@pytest.fixture
def root(tmp_path, room):
    unknown = np.zeros(SIZE, dtype=bool)
    unknown[:5] = True
    seven_scenes.write(tmp_path, {"chess": {"seq-03": room}, "fire": {"seq-01": room}}, unknown)
    return tmp_path


def load(root, **options):
    return fgq.load_scenes(
        "seven_scenes", root=root, **({"size": SIZE, "every": 1, "scenes": ("chess", "fire")} | options)
    )


def test_what_was_written_comes_back(root, room, same_as_room):
    scenes = load(root)
    assert [scene.name for scene in scenes] == ["chess/seq-03", "fire/seq-01"] and not scenes.failures
    for scene in scenes:
        assert scene.unit == "metre" and scene.dataset == "seven_scenes"
        same_as_room(scene, room, quantum=0.5e-3 + 1e-6)
        assert not scene.valid[:, :5].any() and scene.valid[:, 5:].all()
        assert (scene.depth[:, :5] == 0).all()


def test_projected_depth_has_its_own_focal_length(tmp_path, same_as_room):
    room = build_room(1, 2, *SIZE, focal=(525.0, 525.0))
    seven_scenes.write(tmp_path, {"chess": {"seq-03": room}}, depth_suffix="depth.proj")
    (scene,) = load(tmp_path, depth="projected", scenes=("chess",))
    same_as_room(scene, room, quantum=0.5e-3 + 1e-6)
    with pytest.raises(FgqError, match="frame-000000.depth.png, frame-000001.depth.png are missing"):
        load(tmp_path, scenes=("chess",))


def test_every_200th_frame_is_the_published_choice(root):
    scenes = fgq.load_scenes("seven_scenes", root=root, size=28, patch_size=14, scenes=("chess",))
    assert scenes.frame_list.sequences == {"chess/seq-03": ("000000",)}
    assert scenes[0].images.shape == (1, 3, 28, 28)
    assert load(root, every=2).frame_list.sequences["fire/seq-01"] == ("000000", "000002")


@pytest.mark.parametrize("part", ["color.png", "depth.png", "pose.txt"])
def test_a_gap_in_one_sequence_is_told_and_does_not_stop_the_other(root, part):
    missing = root / "chess" / "seq-03" / f"frame-000001.{part}"
    missing.unlink()
    with pytest.warns(UserWarning, match="1 of 2 sequences cannot be read"):
        scenes = load(root)
    assert [scene.name for scene in scenes] == ["fire/seq-01"]
    (failure,) = scenes.failures
    assert failure.sequence == "chess/seq-03" and f"{missing.parent}: {missing.name} is missing" == failure.reason


def test_a_resized_download_is_refused_instead_of_miscalibrated(tmp_path):
    seven_scenes.write(tmp_path, {"chess": {"seq-03": build_room(0, 1, 48, 64)}})
    with pytest.raises(FgqError, match="has 64 × 48 pixels, the calibration is for 640 × 480"):
        load(tmp_path, scenes=("chess",))


def test_a_resized_scene_is_the_room_seen_at_that_size(root, room):
    """Half the size, then a window: against a room rendered directly with the cameras that the loader states."""
    scene = load(root, size=(240, 256), scenes=("chess",))[0]
    x, y = torch.meshgrid(torch.arange(256) + 0.5, torch.arange(240) + 0.5, indexing="xy")
    for frame in range(3):
        k = scene.intrinsics[frame]
        truth = room.depth_along(frame, ((x - k[0, 2]) / k[0, 0]).numpy(), ((y - k[1, 2]) / k[1, 1]).numpy())
        valid = scene.valid[frame].numpy()
        off = np.abs(scene.depth[frame].numpy() / truth - 1)[valid]
        assert valid.mean() > 0.98 and np.median(off) < 2e-3 and (off < 0.02).mean() > 0.97
    shrunk = torch.nn.functional.avg_pool2d(room.fields["images"][:, :, :, 64:-64], 2)
    assert (scene.images - shrunk).abs().mean() < 0.01


@pytest.mark.parametrize(
    "name, text, told",
    [
        ("TestSplit.txt", "sequence2", "seq-03 stands not at all"),
        ("TestSplit.txt", "sequence3\nsequence3\n", "seq-03 stands twice"),
        ("TrainSplit.txt", "sequence3\n", "seq-03 stands twice"),
        ("TestSplit.txt", "seq-03", "'seq-03' is no line such as sequence3"),
        ("TestSplit.txt", "", "names no sequence"),
    ],
)
def test_split_files_must_fit_the_folders(root, name, text, told):
    """A cut-off "sequence14" would name sequence 1, which is for training."""
    (root / "chess" / name).write_text(text)
    with pytest.warns(UserWarning, match=told):
        assert [scene.name for scene in load(root)] == ["fire/seq-01"]


def test_a_depth_map_copied_over_another_is_told(root):
    folder = root / "chess" / "seq-03"
    (folder / "frame-000002.depth.png").write_bytes((folder / "frame-000000.depth.png").read_bytes())
    with pytest.warns(UserWarning, match="chess/seq-03: its frames 000000 and 000002 have the same depth map"):
        assert len(load(root)) == 1
