import inspect

import pytest
import torch

import fgq
from fgq.data import dataset_names, find_dataset
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
    with pytest.raises(FgqError, match="folder has no option split; it has root, frames, size, patch_size, mode, rate"):
        fgq.load_scenes("folder", root=tmp_path, split="test")
    with pytest.raises(FgqError, match="playroom has no option sise; it has split, count"):
        fgq.load_scenes("playroom", sise=64)


@pytest.mark.parametrize("name", dataset_names())
def test_every_dataset_has_a_load_with_defaults(name):
    parameters = inspect.signature(find_dataset(name)).parameters
    assert all(parameter.default is not inspect.Parameter.empty for parameter in parameters.values())
