"""Damaged downloads: every loader either says in one line what is wrong, or gives exactly what was there before."""

import shutil
import signal
import time
import warnings
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from corruptions import CORRUPTIONS
from writers import co3d, dtu, eth3d, kitti, realestate10k, seven_scenes
from writers.room import build_room

import fgq
from fgq.data.resize import relative
from fgq.errors import FgqError

SIZE = (20, 28)
SECONDS = 20  # a trial that takes longer hangs
DRIVES = ("2011_09_26_drive_0002_sync", "2011_09_28_drive_0037_sync")


@dataclass
class Case:
    """A dataset's folder as written, how to load all of it, and how many trials it gets."""

    name: str
    write: object
    trials: int
    options: dict = field(default_factory=dict)
    optional: tuple[str, ...] = ()  # folders without which a scene has no depth, as documented


def small(index, frames=3):
    return build_room(index, frames, *SIZE)


def write_seven_scenes(root):
    rooms = [build_room(index, 2, 480, 640, focal=(585.0, 585.0)) for index in (0, 1)]
    seven_scenes.write(root, {"chess": {"seq-03": rooms[0]}, "fire": {"seq-01": rooms[1]}})


CASES = [
    Case(
        "co3d",
        lambda root: co3d.write(root, {"ape": {"1_2_3": small(0)}, "car": {"4_5_6": small(1)}}),
        150,
        {"frames": 3},
    ),
    Case(
        "realestate10k",
        lambda root: realestate10k.write(root, {"00aa": small(0), "11bb": small(1)}),
        110,
        {"frames": 3},
    ),
    Case(
        "dtu",
        lambda root: dtu.write(root, {"scan1": small(3), "scan2": small(3)}),
        110,
        {"split": "all", "views": 3, "every": 1},
        ("Depths_raw",),
    ),
    Case(
        "eth3d",
        lambda root: eth3d.write(root, {"office": small(0), "pipes": small(1)}),
        110,
        {"scenes": ("office", "pipes"), "every": 1},
        ("ground_truth_depth",),
    ),
    Case("kitti", lambda root: kitti.write_selection(root, small(0, 4)), 80),
    Case(
        "kitti",
        lambda root: kitti.write_video(root, dict(zip(DRIVES, (small(0), small(1)), strict=True))),
        80,
        {"split": "video", "drives": DRIVES},
    ),
    Case("seven_scenes", write_seven_scenes, 70, {"scenes": ("chess", "fire"), "every": 1}),
]


def load(case, root, size=SIZE):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        return fgq.load_scenes(case.name, root=root, size=size, **case.options), told


def give_up(*_):
    raise TimeoutError("the loader hangs")


@pytest.mark.parametrize("case", CASES, ids=[f"{case.name}-{case.options.get('split', '')}" for case in CASES])
def test_damage_is_told_or_changes_nothing(case, tmp_path):
    whole = tmp_path / "whole"
    whole.mkdir()
    case.write(whole)
    intact, told = load(case, whole)
    assert not intact.failures and not told and len(intact) >= 2
    truth = dict(zip(intact.frame_list.sequences, intact, strict=True))
    signal.signal(signal.SIGALRM, give_up)
    refused = partly = unharmed = 0
    for trial in range(case.trials):
        generator = np.random.default_rng([trial, *case.name.encode()])
        what = None
        while what is None:  # not every corruption exists in every layout
            root = tmp_path / "damaged"
            shutil.rmtree(root, ignore_errors=True)
            shutil.copytree(whole, root)
            what = CORRUPTIONS[trial % len(CORRUPTIONS)](root, generator)
            trial += 1 if what is None else 0
        start = time.monotonic()
        signal.alarm(SECONDS)
        try:
            scenes, told = load(case, root)
        except FgqError as error:
            assert "\n" not in str(error) and str(error).isprintable() and len(str(error)) > 20, what
            assert str(tmp_path) in str(error) or any(name in str(error) for name in truth), (what, str(error))
            refused += 1
            continue
        finally:
            signal.alarm(0)
        assert time.monotonic() - start < SECONDS, what
        for failure in scenes.failures:
            assert failure.reason.isprintable() and failure.sequence.isprintable(), what
        assert bool(scenes.failures) == bool(told), what
        partly, unharmed = partly + bool(scenes.failures), unharmed + (not scenes.failures)
        for scene in scenes:
            assert_unchanged(
                scene, scenes.frame_list.sequences[scene.name], truth, intact.frame_list.sequences, case, root, what
            )
    print(case.name, refused, partly, unharmed)
    assert refused + partly > case.trials / 3 and unharmed < case.trials / 2, (refused, partly, unharmed)


def assert_unchanged(scene, frames, truth, frames_before, case, root, what):
    """The scene is what it was, on the frames that it has; a depth archive that is gone takes depth with it."""
    assert scene.name in truth, what
    before, index = truth[scene.name], [frames_before[scene.name].index(frame) for frame in frames]
    assert torch.equal(scene.images, before.images[index]), what
    assert torch.equal(scene.intrinsics, before.intrinsics[index]), what
    assert (scene.extrinsics is None) == (before.extrinsics is None), what
    if before.extrinsics is not None:
        expected = relative([matrix.double().numpy() for matrix in before.extrinsics[index]])
        torch.testing.assert_close(
            scene.extrinsics.double(), torch.from_numpy(expected), rtol=1e-5, atol=1e-5, msg=what
        )
    if scene.depth is None:
        gone = [name for name in case.optional if not any(path.is_dir() for path in root.rglob(name))]
        assert before.depth is None or gone, what
        return
    valid = scene.valid & before.valid[index]
    assert torch.equal(valid, scene.valid) and scene.valid.any(), what
    assert torch.equal(scene.depth[valid], before.depth[index][valid]), what


def test_at_least_five_hundred_corruptions_are_tried():
    assert sum(case.trials for case in CASES) >= 500 and len({case.name for case in CASES}) == 6
