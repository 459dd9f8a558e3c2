import pytest
import torch

from fgq.errors import FgqError
from fgq.memory import limit as module
from fgq.memory.forward import forecast
from fgq.memory.limit import Clips, free_bytes
from fgq.vggt import aggregator
from fgq.vggt.weights import empty_model

SIDE = 32  # pixels: 16 patches and 3 special tokens a frame
WIDE = {"embed_dim": 32, "depth": 6, "encoder_depth": 3, "dpt_layers": (1, 2, 4, 5)}


@pytest.fixture
def config(build_toy, monkeypatch):
    for place in (module, aggregator):
        monkeypatch.setattr(place, "TOKENS_AT_A_TIME", 2 * 19)
    return build_toy(**WIDE).config


@pytest.fixture
def clips(config):
    return Clips(empty_model(config), SIDE, SIDE)


@pytest.mark.parametrize("frames", [1, 9])
def test_layers_that_no_head_reads_do_not_show_in_the_peak(config, clips, frames):
    whole = forecast(empty_model(config), frames, SIDE, SIDE)
    assert clips.phases(frames).bytes == whole.activation_bytes and clips.weight_bytes == whole.weight_bytes


def test_parts_hold_less_and_memory_is_a_line(clips):
    assert clips.chunk == 2
    assert clips.phases(20).blocks < 0.85 * clips.phases(20, 20).blocks
    for frames in (9, 20):
        line, walked = clips.many(frames), clips.phases(frames)
        assert (line.blocks, line.heads) == pytest.approx((walked.blocks, walked.heads), rel=0.05)


@pytest.mark.parametrize("frames", [1, 3, 5, 40, 1000])
def test_the_largest_clip_is_the_last_that_fits(clips, frames):
    room = module.PROCESS_BYTES + clips.bytes(frames)
    found = clips.limit(room)
    assert found.frames == frames and clips.limit(room - 1).frames < frames
    assert found.weight_bytes == clips.weight_bytes and found.frame_bytes > SIDE * SIDE * 3 * 4


def test_where_the_weights_do_not_fit_nothing_does(clips):
    assert clips.limit(module.PROCESS_BYTES + clips.weight_bytes).frames == 0


def test_half_precision_takes_more_frames(config):
    room = module.PROCESS_BYTES + 10**8
    full, half = (Clips(empty_model(config).to(dtype), SIDE, SIDE).limit(room) for dtype in (None, torch.bfloat16))
    assert 1.2 * full.frames < half.frames < 2 * full.frames


def test_only_devices_that_tell_are_asked():
    assert free_bytes("cpu") > 0
    with pytest.raises(FgqError, match="free on meta is not known"):
        free_bytes("meta")


def test_a_size_that_the_model_refuses_is_refused(config):
    with pytest.raises(FgqError, match="multiples of the patch size 8"):
        Clips(empty_model(config), SIDE, SIDE + 1).phases(1)
