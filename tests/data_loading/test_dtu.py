import shutil

import numpy as np
import pytest
from writers import dtu
from writers.room import build_room

import fgq
from fgq.data.public.dtu import TEST_SCANS, VIEWS
from fgq.data.sampling import Rule
from fgq.errors import FgqError

SIZE = (36, 48)


@pytest.fixture(scope="module")
def room():
    return build_room(5, 3, *SIZE)


@pytest.fixture
def root(tmp_path, room):
    dtu.write(tmp_path, {"scan1": room, "scan2": room})
    return tmp_path


def load(root, **options):
    return fgq.load_scenes("dtu", root=root, **({"size": SIZE, "split": "all", "views": 3, "every": 1} | options))


def test_what_was_written_comes_back(root, room, same_as_room):
    scenes = load(root)
    assert [scene.name for scene in scenes] == ["scan1", "scan2"]
    for scene in scenes:
        assert scene.unit == "millimetre"
        same_as_room(scene, room, unit=1e-3, quantum=1e-3)  # a float32 of some thousand millimetres
        assert not scene.valid[:, :2].any() and scene.valid[:, 2:].all()


def test_a_scan_without_depth_has_none(root):
    shutil.rmtree(root / "Depths_raw")
    scene = load(root)[0]
    assert scene.depth is None and scene.points is None and scene.extrinsics is not None


def test_the_published_choice_is_22_scans_of_10_views():
    views = [str(view) for view in range(1, VIEWS + 1)]
    chosen = Rule("every", 5).choose(views, 0, "dtu", "scan1")
    assert len(TEST_SCANS) == len(set(TEST_SCANS)) == 22 and chosen == tuple(str(v) for v in range(1, 47, 5))


def test_a_missing_scan_view_or_depth_map_is_told(root):
    with pytest.raises(FgqError, match="22 of 22 sequences cannot be read.*rect_004_3_r5000.png is missing"):
        load(root, split="test", views=4)
    with pytest.warns(UserWarning, match="21 of 22 sequences"):
        assert len(load(root, split="test")) == 1
    (root / "Depths_raw/scan2/depth_map_0001.pfm").unlink()
    with pytest.warns(UserWarning, match="scan2/depth_map_0001.pfm: no such file"):
        assert len(load(root)) == 1


@pytest.mark.parametrize("value, told", [(-1.0, "1 depths are negative"), (np.nan, "holds NaN or infinity")])
def test_depth_that_cannot_be_is_refused(root, room, value, told):
    depth = room.depth[0] * 1000
    depth[9, 9] = value
    dtu.write_pfm(root / "Depths_raw/scan1/depth_map_0000.pfm", depth)
    with pytest.warns(UserWarning, match=f"scan1/depth_map_0000.pfm: .*{told}"):
        assert len(load(root)) == 1


def test_a_calibration_for_another_size_is_refused(tmp_path, room):
    dtu.write(tmp_path, {"scan1": room})
    for path in (tmp_path / "Cameras").iterdir():
        text = path.read_text().split("intrinsic")[0]
        path.write_text(text + "intrinsic\n2892.33 0 823.2\n0 2883.18 619.1\n0 0 1\n\n425 2.5\n")
    with pytest.raises(FgqError, match="it belongs to images of another size"):
        load(tmp_path)
