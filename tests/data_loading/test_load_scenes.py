import inspect

import pytest
import torch
from writers import realestate10k
from writers.room import build_room

import fgq
from fgq.data import about, dataset_names, find_dataset
from fgq.data.loaded import UnreadableSequences
from fgq.data.public.on_disk import Selection
from fgq.data.sampling import FrameList
from fgq.errors import FgqError


def test_what_is_asked_for_comes():
    scenes = fgq.load_scenes("playroom", split="calibration", count=2, frames=3, seed=4, size=16)
    assert [scene.images.shape for scene in scenes] == [(3, 3, 16, 16)] * 2
    other = fgq.load_scenes("playroom", split="calibration", count=2, frames=3, seed=5, size=16)
    assert not torch.equal(scenes[0].images, other[0].images)


def test_an_unknown_dataset_lists_the_known_ones():
    with pytest.raises(FgqError, match="'playrom'; choose one of .*playroom") as told:
        fgq.load_scenes("playrom")
    assert "folder" in str(told.value) and "images" not in str(told.value)
    with pytest.raises(FgqError, match="no dataset is called 'scene'"):  # a module, but no dataset
        fgq.load_scenes("scene")


@pytest.mark.parametrize("field", ["count", "frames"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "3"])
def test_counts_must_be_whole_and_positive(field, value):
    with pytest.raises(FgqError, match=f"playroom: {field} must be a whole number of at least 1"):
        fgq.load_scenes("playroom", **{field: value})


def test_an_option_that_the_dataset_lacks_is_refused(tmp_path):
    with pytest.raises(FgqError, match="folder has no option sed; it has root, frames, count, size, patch_size, "):
        fgq.load_scenes("folder", root=tmp_path, sed=0)
    with pytest.raises(FgqError, match="playroom has no option sise; it has split, count"):
        fgq.load_scenes("playroom", sise=64)


@pytest.mark.parametrize("name", dataset_names())
def test_every_dataset_has_a_load_with_defaults(name):
    parameters = inspect.signature(find_dataset(name)).parameters
    assert all(parameter.default is not inspect.Parameter.empty for parameter in parameters.values())


ON_DISK = [name for name in dataset_names() if name not in ("playroom", "folder")]


@pytest.mark.parametrize("name", ON_DISK)
@pytest.mark.parametrize("size", [0, -14, 20, True, "28", (28,), (28, 0), (28, 28.0), 14.0])
def test_a_size_that_makes_no_sense_is_told_before_anything_is_read(name, size, tmp_path):
    with pytest.raises(FgqError, match="size"):
        Selection(about(name), [], [], FrameList(name, "test", "", 0, {})).read(size)


@pytest.mark.parametrize("name", ON_DISK)
def test_a_root_is_needed_and_must_be_there(name, tmp_path):
    with pytest.raises(FgqError, match=f"the dataset '{name}' needs root=, the folder with "):
        fgq.load_scenes(name)
    with pytest.raises(FgqError, match=f"{tmp_path}/none: no such folder; {name} needs "):
        fgq.load_scenes(name, root=tmp_path / "none")
    with pytest.raises(FgqError, match=f"{name} has no split 'holdout'; choose one of "):
        fgq.load_scenes(name, root=tmp_path, split="holdout")
    with pytest.raises(FgqError) as told:  # an empty folder
        fgq.load_scenes(name, root=tmp_path)
    assert str(tmp_path) in str(told.value)


def write_clips(root, names):
    realestate10k.write(root, {name: build_room(i, 4, 20, 28) for i, name in enumerate(names)})


@pytest.mark.parametrize("options", [{"seed": 1.5}, {"seed": "a"}, {"count": 3}, {"frames": 5}])
def test_choices_that_cannot_be_made_are_told(options, tmp_path):
    write_clips(tmp_path, "ab")
    with pytest.raises(FgqError, match="seed must be a whole number|3 sequences were asked for|holds 4 frames, 5 were"):
        fgq.load_scenes("realestate10k", root=tmp_path, size=(20, 28), **{"frames": 2} | options)


@pytest.mark.parametrize(
    "name, option", [("dtu", "every"), ("eth3d", "every"), ("seven_scenes", "every"), ("dtu", "views")]
)
def test_a_step_of_zero_is_not_the_published_one(name, option, tmp_path):
    with pytest.raises(FgqError, match="whole number of at least 1, got 0"):
        fgq.load_scenes(name, root=tmp_path, **{option: 0})


def test_many_failures_are_counted_and_the_first_are_named(tmp_path):
    write_clips(tmp_path, "abcdefgh")
    for name in "bcdefgh":
        (tmp_path / "test" / f"{name}.txt").write_text("address\n")
    with pytest.warns(UnreadableSequences) as told:
        scenes = fgq.load_scenes("realestate10k", root=tmp_path, size=(20, 28), frames=2)
    (warning,) = told
    text = str(warning.message)
    assert text.startswith(
        f"realestate10k: 7 of 8 sequences cannot be read, b: {tmp_path}/test/b.txt: lists no frame; c"
    )
    assert text.endswith("; 2 more") and warning.filename == __file__
    assert [failure.sequence for failure in scenes.failures] == list("bcdefgh") and len(scenes) == 1
    assert not scenes[:1].failures and scenes[:1].frame_list == scenes.frame_list.only("a")
    (tmp_path / "test" / "a.txt").unlink()
    with pytest.raises(FgqError, match="7 of 7 sequences cannot be read, b: "):
        fgq.load_scenes("realestate10k", root=tmp_path, size=(20, 28), frames=2)
