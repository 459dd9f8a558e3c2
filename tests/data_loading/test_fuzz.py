"""Damaged downloads: every loader either says in one line what is wrong, or gives exactly what was there before."""

import signal
import warnings
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from corruptions import CORRUPTIONS
from kept_folder import KeptFolder
from writers import co3d, dtu, eth3d, kitti, realestate10k, seven_scenes
from writers.room import build_room

import fgq
from fgq.data.check import check_dataset
from fgq.data.public.resize import relative
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
    lists_sequences: bool = True  # else the folders themselves say which there are: without one, it is not asked for

    def listed_options(self):
        """Those that are left when a frame list says which frames."""
        return {name: value for name, value in self.options.items() if name not in ("frames", "every", "split")}


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
        lists_sequences=False,
    ),
    Case(
        "dtu",
        lambda root: dtu.write(root, {"scan1": small(3), "scan2": small(3)}),
        110,
        {"split": "all", "views": 3, "every": 1},
        ("Depths_raw",),
        lists_sequences=False,
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


class Hangs(BaseException):
    """No Exception: a loader that catches those would hide it."""


@contextmanager
def time_limit(what):
    def give_up(*_):
        raise Hangs(what)

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def load(case, root, frame_list=None):
    """Scenes, and the warnings that were given."""
    options = case.options if frame_list is None else case.listed_options() | {"frame_list": frame_list}
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        return fgq.load_scenes(case.name, root=root, size=SIZE, **options), told


def damage(kept, trial, generator):
    """Damages the folder, mended before; returns what was done. Not every corruption exists in every layout."""
    for kind in range(trial, trial + 100):
        kept.mend()
        what = CORRUPTIONS[kind % len(CORRUPTIONS)](kept.root, generator)
        if what is not None:
            return what
    raise AssertionError("no corruption applies")


@pytest.mark.parametrize("case", CASES, ids=[f"{case.name}-{case.options.get('split', '')}" for case in CASES])
def test_damage_is_told_or_changes_nothing(case, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    case.write(root)
    kept = KeptFolder(root)
    intact, told = load(case, root)
    assert not intact.failures and not told and len(intact) >= 2
    truth = dict(zip(intact.frame_list.sequences, intact, strict=True))
    outcomes = Counter()
    for trial in range(case.trials):
        what = damage(kept, trial, np.random.default_rng([trial, *case.name.encode()]))
        by_list = trial // len(CORRUPTIONS) % 2  # by a frozen list, or by what the folder says
        frame_list = intact.frame_list if by_list else None
        try:
            with time_limit(what):
                scenes, told = load(case, root, frame_list)
        except FgqError as error:
            assert "\n" not in str(error) and str(error).isprintable() and len(str(error)) > 20, what
            assert str(tmp_path) in str(error) or any(name in str(error) for name in truth), (what, str(error))
            outcomes["refused"] += 1
            continue
        outcomes["partly" if scenes.failures else "unharmed"] += 1
        for failure in scenes.failures:
            assert failure.reason.isprintable() and failure.sequence.isprintable(), what
        assert len(told) == bool(scenes.failures), what
        if frame_list is not None:
            assert scenes.frame_list.hash == intact.frame_list.hash, what
            assert len(scenes) + len(scenes.failures) == len(truth), (what, scenes.failures)
        elif case.lists_sequences:
            assert len(scenes) + len(scenes.failures) >= len(truth), (what, scenes.failures)
        for scene in scenes:
            assert_unchanged(scene, scenes.frame_list, intact.frame_list, truth, case, root, what)
    assert outcomes["refused"] + outcomes["partly"] > case.trials / 3, outcomes
    assert outcomes["unharmed"] < case.trials / 2, outcomes


def assert_unchanged(scene, listed, listed_before, truth, case, root, what):
    """The scene is what it was, on the frames that it has; a depth archive that is gone takes depth with it."""
    assert scene.name in truth, what
    before, ids = truth[scene.name], listed_before.sequences[scene.name]
    index = [ids.index(frame) for frame in listed.sequences[scene.name]]
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
    masked = "mask" in what or "visual" in what  # which pixels to trust is a mask's to say; it cannot add any
    assert torch.equal(valid, scene.valid if masked else before.valid[index]) and scene.valid.any(), what
    assert torch.equal(scene.depth[valid], before.depth[index][valid]), what
    if scene.points is not None and index[0] == 0:
        torch.testing.assert_close(scene.points[valid], before.points[index][valid], rtol=1e-5, atol=1e-4, msg=what)


@pytest.mark.parametrize("case", CASES, ids=[f"{case.name}-{case.options.get('split', '')}" for case in CASES])
def test_the_check_finds_what_loading_finds(case, tmp_path):
    """On the same frames: a download passes the check exactly when all of it can be loaded."""
    root = tmp_path / "root"
    root.mkdir()
    case.write(root)
    kept = KeptFolder(root)
    frames = load(case, root)[0].frame_list
    where = case.listed_options()
    assert not check_dataset(case.name, root, frame_list=frames, progress=False, **where).problems
    for trial in range(2 * len(CORRUPTIONS)):
        what = damage(kept, trial, np.random.default_rng([trial, 1, *case.name.encode()]))
        with time_limit(what):
            try:
                lost = {failure.sequence for failure in load(case, root, frames)[0].failures}
            except FgqError:
                lost = set(frames.sequences)
            try:
                checked = check_dataset(case.name, root, frame_list=frames, progress=False, **where).problems
                found = {problem.sequence for problem in checked}
            except FgqError:
                found = set(frames.sequences)
        assert found == lost, what


def test_at_least_five_hundred_corruptions_are_tried():
    assert sum(case.trials for case in CASES) >= 500 and len({case.name for case in CASES}) == 6
