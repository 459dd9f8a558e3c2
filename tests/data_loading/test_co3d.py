import shutil

import numpy as np
import pytest
import torch
from writers import co3d
from writers.files import write_image
from writers.room import build_room

import fgq
from fgq.errors import FgqError

SIZE = (40, 56)
HALF_FLOAT = 2.0**-11  # rounding of a float16, relative


@pytest.fixture(scope="module")
def rooms():
    return {name: build_room(i, 4, *SIZE) for i, name in enumerate(("110_13051_23361", "12_90_489", "9_9_9"))}


@pytest.fixture
def root(tmp_path, rooms):
    names = list(rooms)
    co3d.write(tmp_path, {"apple": {n: rooms[n] for n in names[:2]}, "car": {names[2]: rooms[names[2]]}})
    return tmp_path


def load(root, **options):
    return fgq.load_scenes("co3d", root=root, **({"size": SIZE, "frames": 4} | options))


@pytest.mark.parametrize("kind", ["ndc_isotropic", "ndc_norm_image_bounds"])
@pytest.mark.parametrize("size", [(40, 56), (56, 40)])
def test_what_was_written_comes_back(tmp_path, same_as_room, kind, size):
    room = build_room(3, 3, *size, focal=(47.0, 52.0), centre=(0.53 * size[1], 0.44 * size[0]))
    co3d.write(tmp_path, {"apple": {"1_2_3": room}}, kind=kind)
    (scene,) = load(tmp_path, size=size, frames=3)
    assert scene.name == "apple/1_2_3" and scene.unit == "normalised"
    same_as_room(scene, room, quantum=room.fields["depth"] * 1.01 * HALF_FLOAT)
    third = size[1] // 3
    assert not scene.valid[:, :, :third].any() and scene.valid[:, :, third:].all()


def test_the_object_region_is_smaller(root):
    frame, within = (load(root, region=region, categories=("car",))[0].valid for region in ("frame", "object"))
    assert torch.equal(within, frame & (torch.arange(SIZE[0]) < SIZE[0] // 2)[:, None])
    with pytest.raises(FgqError, match="no region 'mask'; choose one of frame, object"):
        load(root, region="mask")


def test_infinite_depth_is_unknown_as_in_the_datasets_own_reader(root, rooms):
    path = root / "car/9_9_9/depths/frame000001.jpg.geometric.png"
    values = rooms["9_9_9"].depth[0].astype(np.float16)
    values[3, 40], values[4, 40] = np.inf, np.nan
    write_image(path, values.view(np.uint16))
    scene = load(root, categories=("car",))[0]
    assert not scene.valid[0, 3:5, 40].any() and scene.valid[0, 5, 40] and (scene.depth[0, 3:5, 40] == 0).all()


def test_random_frames_are_in_order_and_depend_on_seed_and_sequence_alone(root):
    two = load(root, frames=2)
    chosen = two.frame_list.sequences
    assert all(len(frames) == 2 and int(frames[0]) < int(frames[1]) for frames in chosen.values())
    alone = load(root, frames=2, categories=("car",)).frame_list.sequences
    assert alone["car/9_9_9"] == chosen["car/9_9_9"]
    three = load(root, frames=3).frame_list.sequences
    assert all(set(chosen[name]) < set(three[name]) for name in chosen)
    drawn = {load(root, frames=2, seed=seed).frame_list.hash for seed in range(6)}
    assert len(drawn) > 3


def test_some_sequences_are_spread_over_the_categories(root):
    for seed in range(5):
        assert {scene.name.split("/")[0] for scene in load(root, count=2, seed=seed)} == {"apple", "car"}
    with pytest.raises(FgqError, match="4 sequences were asked for, but 3 were found"):
        load(root, count=4)


def edit(root, change, category="apple"):
    path = root / category / "frame_annotations.jgz"
    entries = co3d.read_annotations(path)
    change(entries)
    co3d.write_annotations(path, entries)


@pytest.mark.parametrize(
    "change, told",
    [
        (lambda e: e[0]["viewpoint"]["R"][0].__setitem__(0, 7.0), "axes are not a rotation"),
        (lambda e: e[0]["viewpoint"].__setitem__("R", np.diag([1.0, 1, -1]).tolist()), "mirrored"),
        (lambda e: e[0]["viewpoint"].__setitem__("T", [float("nan"), 0, 0]), "'T' is no array of finite numbers"),
        (lambda e: e[0]["viewpoint"].__setitem__("T", [3e16, 0, 0]), "the camera is 3e"),
        (lambda e: e[0]["viewpoint"].__setitem__("intrinsics_format", "pixels"), "'pixels' is none of"),
        (lambda e: e[0]["image"].__setitem__("size", [56, 40]), "the annotation says 40 × 56"),
        (lambda e: e[0]["depth"].__setitem__("scale_adjustment", -1), "scale_adjustment of the depth is -1"),
        (lambda e: e.pop(0), "has no frame 1 of the set list"),
    ],
)
def test_a_wrong_annotation_costs_its_sequence_alone(root, change, told):
    edit(root, change)
    with pytest.warns(UserWarning, match="1 of 3 sequences"):
        scenes = load(root)
    assert [scene.name for scene in scenes] == ["apple/12_90_489", "car/9_9_9"]
    (failure,) = scenes.failures
    assert failure.sequence == "apple/110_13051_23361" and told in failure.reason
    assert failure.reason.startswith(f"{root}/apple/")


def test_a_frame_annotated_twice_costs_the_category(root):
    edit(root, lambda entries: entries.append(entries[0]))
    with pytest.warns(UserWarning, match="2 of 3 sequences .* stands there twice"):
        assert [scene.name for scene in load(root)] == ["car/9_9_9"]


def test_a_category_that_was_not_unpacked_is_told(root):
    (root / "zebra").mkdir()
    with pytest.warns(UserWarning, match="zebra/set_lists/set_lists_fewview_dev.json: no such file"):
        assert len(load(root)) == 3


@pytest.mark.parametrize("target", ["car", "/nowhere/car"])
def test_a_category_that_became_a_link_to_nothing_is_told(root, target):
    shutil.rmtree(root / "car")
    (root / "car").symlink_to(target)
    with pytest.warns(UserWarning, match="1 of 3 sequences cannot be read, car: .*car/set_lists"):
        assert len(load(root)) == 2


def test_a_folder_without_any_category_is_refused_at_once(tmp_path):
    for name in ("photos", "papers"):
        (tmp_path / name).mkdir()
    with pytest.raises(FgqError, match="no folder here is a category; co3d needs the unpacked CO3Dv2 categories"):
        load(tmp_path)
