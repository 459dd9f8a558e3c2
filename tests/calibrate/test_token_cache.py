import os

import pytest
import torch

from fgq.calibrate import RecipeError
from fgq.calibrate.token_cache import DiskClips, empty_clips, empty_like

SHAPE = (5, 2, 3, 4)
CPU = torch.device("cpu")


def draw(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_clips_on_disk_hold_what_was_written_rounded_to_bfloat16(tmp_path):
    truth, clips = draw(*SHAPE), DiskClips(SHAPE, CPU, tmp_path)
    for batch in (slice(2, 4), slice(4, 5), slice(0, 2)):
        clips[batch] = truth[batch]
    for batch in (slice(0, 5), slice(3, 5), slice(1, 9), slice(2, 2)):
        assert torch.equal(clips[batch], truth[batch].bfloat16())
    clips[1:2] = truth[4:5]
    assert torch.equal(clips[0:3], truth[[0, 4, 2]].bfloat16())
    assert len(clips) == 5 and clips.shape == SHAPE and clips.dtype == torch.bfloat16
    assert list(tmp_path.iterdir()) == []  # the file has no name, so nothing stays behind after a crash


def test_the_budget_is_of_all_caches_that_live_at_a_time():
    one = 5 * 2 * 3 * 4 * 4
    for caches in (2, 3):
        fits = empty_clips(SHAPE, torch.float32, CPU, caches, budget=caches * one)
        assert fits.dtype == torch.float32 and tuple(fits.shape) == SHAPE
        assert isinstance(empty_clips(SHAPE, torch.float32, CPU, caches, budget=caches * one - 1), DiskClips)
    assert isinstance(empty_clips(SHAPE, torch.bfloat16, CPU, 2, budget=one), torch.Tensor)
    with pytest.raises(RecipeError, match="cache_budget is -1 bytes"):
        empty_clips(SHAPE, torch.float32, CPU, 2, budget=-1)


def test_another_cache_is_of_the_same_kind(tmp_path):
    other = empty_like(DiskClips(SHAPE, CPU, tmp_path))
    assert isinstance(other, DiskClips) and other.shape == SHAPE and other.folder == tmp_path
    assert isinstance(empty_like(draw(*SHAPE)), torch.Tensor)


@pytest.mark.parametrize("broken", ["missing", "a file"])
def test_a_folder_that_cannot_be_written_is_named(tmp_path, broken):
    folder = tmp_path / "cache"
    if broken == "a file":
        folder.write_text("")
    with pytest.raises(RecipeError, match=f"cache_dir {folder}: no token cache of 0.00 GB can be written there"):
        DiskClips(SHAPE, CPU, folder)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_is_named(tmp_path):
    clips = DiskClips(SHAPE, CPU, tmp_path)
    clips.file = open("/dev/full", "r+b", buffering=0)
    with pytest.raises(RecipeError, match=f"cache_dir {tmp_path}: .* can be written there .No space left"):
        clips[0:1] = draw(1, *SHAPE[1:])


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system cannot reserve a file's room")
def test_a_disk_that_is_too_small_is_named_before_anything_is_written(tmp_path):
    with pytest.raises(RecipeError, match=f"cache_dir {tmp_path}: no token cache of .* raise cache_budget"):
        DiskClips((2**30, 2**10, 2**10, 2**10), CPU, tmp_path)


def test_a_file_that_lost_its_end_is_named(tmp_path):
    clips = DiskClips(SHAPE, CPU, tmp_path)
    clips.file.truncate(3)
    with pytest.raises(RecipeError, match=f"cache_dir {tmp_path}: the token cache there cannot be read .it ends"):
        clips[0:1]
    clips.file.close()
    with pytest.raises(RecipeError, match="cannot be read .*closed file"):
        clips[0:1]
