"""A random VGGT in the layout of VGGT-1B, and datasets of a few frames in their public ones, for whole editions."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch

from fgq.data.public.seven_scenes import SCENES
from fgq.vggt import VGGT, VGGTConfig

sys.path.append(str(Path(__file__).parents[1] / "data_loading"))

from writers import co3d, seven_scenes  # noqa: E402
from writers.room import Room, build_room  # noqa: E402

SIZES = dict(
    img_size=42,
    patch_size=14,
    embed_dim=32,
    depth=4,
    num_heads=2,
    encoder_depth=1,
    camera_trunk_depth=1,
    dpt_features=8,
    dpt_out_channels=(8, 8, 8, 8),
    dpt_layers=(0, 1, 2, 3),
)


def write_model(folder: Path, **sizes) -> None:
    torch.manual_seed(0)
    model = VGGT(VGGTConfig(**(SIZES | sizes)))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(".gamma"):  # LayerScale, which starts so near zero that no block would show
                parameter.fill_(0.5)
        last = model.camera_head.pose_branch.fc2  # its four corrections add up to a view of one radian for every input
        last.weight[7:], last.bias[7:] = 0.0, 0.25
    model.save(folder)


def write_co3d(root: Path) -> None:
    """Two categories, a sequence for calibration and one to test in each."""
    rooms = [[build_room(2 * place + index, 6, 42, 56) for index in range(2)] for place in range(2)]
    names = ("1_1_1", "2_2_2")
    categories = {
        name: dict(zip(names, pair, strict=True)) for name, pair in zip(("apple", "bench"), rooms, strict=True)
    }
    co3d.write(root, categories)
    for category in categories:
        path = root / category / "set_lists/set_lists_fewview_dev.json"
        listed = json.loads(path.read_text())["test"]
        train, test = ([entry for entry in listed if entry[0] == name] for name in names)
        path.write_text(json.dumps({"train": train, "val": [], "test": test}))


def write_seven_scenes(root: Path) -> None:
    """All seven, as the protocol asks for all; a sequence for calibration and one to test in each."""
    for place, name in enumerate(SCENES):
        rooms = {f"seq-0{index}": build_room(2 * place + index, 2, 48, 64, focal=(58.5, 58.5)) for index in (1, 2)}
        rooms = {sequence: enlarged(room, 10) for sequence, room in rooms.items()}
        for depth in ("depth", "depth.proj"):
            seven_scenes.write(root, {name: rooms}, depth_suffix=depth)
        (root / name / "TrainSplit.txt").write_text("sequence1\n")
        (root / name / "TestSplit.txt").write_text("sequence2\n")


def enlarged(room: Room, times: int) -> Room:
    """Every pixel `times` times in both directions; only the fields that the writers put on disk."""
    images, depth = (values.repeat(times, axis=1).repeat(times, axis=2) for values in (room.images, room.depth))
    return replace(room, images=images, depth=depth)
