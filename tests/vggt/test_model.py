import json
import math
import weakref
from pathlib import Path

import pytest
import torch

from fgq.errors import FgqError
from fgq.vggt import TASKS, VGGT, VGGTConfig

PUBLIC_NAMES = json.loads((Path(__file__).parents[1] / "data" / "vggt_1b_state_dict.json").read_text())
OUTPUTS = ("pose_enc", "depth", "depth_conf", "world_points", "world_points_conf")


@pytest.fixture(scope="module")
def predictions(golden, golden_model):
    with torch.no_grad():
        return golden_model(golden["input.images"], return_tokens=True)


@pytest.mark.parametrize("name", OUTPUTS)
def test_output_equals_the_reference(golden, predictions, relative_error, name):
    assert relative_error(predictions[name], golden[f"output.{name}"]) <= 1e-5


def test_every_iteration_of_the_camera_head_equals_the_reference(golden, predictions, relative_error):
    assert relative_error(torch.stack(predictions.pose_enc_list), golden["output.pose_enc_list"]) <= 1e-5


def test_every_block_output_equals_the_reference(golden, golden_model, predictions, relative_error):
    truths = golden.under("block_output.")
    assert len(predictions.block_outputs) == len(truths) == golden_model.config.num_blocks
    for tokens, key in zip(predictions.block_outputs, sorted(truths), strict=True):
        assert relative_error(tokens, truths[key]) <= 1e-5


def test_layer_tokens_equal_the_reference(golden, golden_model, predictions, relative_error):
    flat = [tokens.flatten(0, 1) for tokens in predictions.block_outputs]
    for layer, truth in enumerate(golden["output.tokens"]):
        assert relative_error(golden_model.layer_tokens(flat, layer), truth.flatten(0, 1)) <= 1e-5


def test_names_and_shapes_are_those_of_the_public_checkpoint():
    with torch.device("meta"):
        model = VGGT(VGGTConfig())
    ours = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    assert ours == {name: shape for name, shape in PUBLIC_NAMES.items() if not name.startswith("track_head.")}
    assert len(PUBLIC_NAMES) == 1797
    assert sum(math.prod(shape) for shape in PUBLIC_NAMES.values()) == 1_256_537_516


def test_a_clip_without_batch_is_a_batch_of_one(toy_model, toy_images):
    with torch.no_grad():
        alone, batched = toy_model(toy_images[0]), toy_model(toy_images[:1])
    for name in OUTPUTS:
        assert torch.equal(alone[name], batched[name])


def test_clips_of_a_batch_do_not_see_one_another(toy_model, toy_images, relative_error):
    with torch.no_grad():
        together = toy_model(toy_images)
        alone = [toy_model(clip) for clip in toy_images]
    for name in OUTPUTS:
        assert relative_error(together[name], torch.cat([one[name] for one in alone])) <= 1e-5


def test_each_task_alone_gives_what_all_together_give(toy_model, toy_images):
    images = toy_model.check_images(toy_images)
    with torch.no_grad():
        outputs = toy_model.aggregator(images)
        everything = toy_model.read_heads(outputs, images.shape)
        parts = [toy_model.read_heads(outputs, images.shape, tasks=(task,)) for task in TASKS]
    for part in parts:
        for name, value in part.items():
            if name != "pose_enc_list":
                assert torch.equal(value, everything[name])
    assert {name for part in parts for name in part} == set(everything)


def test_a_lean_forward_gives_bit_for_bit_what_reading_all_block_outputs_gives(toy_model, toy_images):
    images = toy_model.check_images(toy_images)
    with torch.no_grad():
        plain = toy_model.read_heads(toy_model.aggregator(images), images.shape)
        lean = toy_model(images)
    for name in OUTPUTS:
        assert torch.equal(lean[name], plain[name])


def test_only_the_block_outputs_that_the_heads_read_are_alive_when_they_run(build_toy, toy_images):
    model, alive, at_heads = build_toy(depth=6, dpt_layers=(1, 2, 3, 5)), [], []
    for _, block in model.aggregator.blocks():  # a global block's output is reshaped: the storage is what stays
        block.register_forward_hook(lambda module, inputs, output: alive.append(weakref.ref(output.untyped_storage())))
    model.camera_head.register_forward_pre_hook(lambda *_: at_heads.append([ref() is not None for ref in alive]))
    with torch.no_grad():
        model(toy_images)
        model(toy_images, return_tokens=True)
    layers = [layer in (1, 2, 3, 5) for layer in range(6) for _ in "FG"]
    assert at_heads[0] == layers
    assert all(at_heads[1][12:])


@pytest.mark.parametrize("frames_chunk", [1, 2, 4, 100])
def test_heads_in_chunks_of_frames_give_what_all_at_once_give(golden_model, golden, relative_error, frames_chunk):
    with torch.no_grad():
        chunked = golden_model(golden["input.images"], frames_chunk=frames_chunk)
    for name in OUTPUTS:
        assert relative_error(chunked[name], golden[f"output.{name}"]) <= 1e-5


def test_a_chunk_of_no_frames_is_refused(toy_model, toy_images):
    with pytest.raises(FgqError, match="frames_chunk is 0"):
        toy_model(toy_images, frames_chunk=0)


@pytest.mark.parametrize("size", [(16, 16), (16, 40), (40, 16)], ids=["square", "wide", "tall"])
@pytest.mark.parametrize("frames", [1, 2, 3, 20])
def test_any_number_of_frames_of_any_shape_of_whole_patches(toy_model, frames, size):
    with torch.no_grad():
        predictions = toy_model(torch.rand(frames, 3, *size, generator=torch.Generator().manual_seed(2)))
    assert predictions.pose_enc.shape == (1, frames, 9)
    assert predictions.depth.shape == (1, frames, *size, 1)
    assert predictions.world_points.shape == (1, frames, *size, 3)
    assert predictions.depth_conf.shape == predictions.world_points_conf.shape == (1, frames, *size)
    assert all(torch.isfinite(predictions[name]).all() for name in OUTPUTS)


def test_a_model_without_storage_tells_the_shapes_of_its_answers():
    with torch.device("meta"):
        predictions = VGGT(VGGTConfig())(torch.empty(20, 3, 392, 518))
    assert predictions.world_points.shape == (1, 20, 392, 518, 3)


@pytest.mark.parametrize("size", [(15, 16), (17, 16), (16, 15), (16, 17)])
def test_images_one_pixel_off_are_refused(toy_model, size):
    with pytest.raises(FgqError, match=f"{size[0]} × {size[1]} pixels"):
        toy_model(torch.zeros(2, 3, *size))


def test_a_half_precision_backbone_keeps_its_heads_in_float32(toy_model, toy_images, relative_error):
    """Eight bits of mantissa: each answer stays within 5 % of the largest, and under autocast too."""
    with torch.no_grad():
        truth = toy_model(toy_images)
        with torch.autocast("cpu", torch.bfloat16):
            under_autocast = toy_model(toy_images)
        toy_model.aggregator.to(torch.bfloat16)
        mixed = toy_model(toy_images)
        low = toy_model.to(torch.bfloat16)(toy_images)
    for predictions in (under_autocast, mixed, low):
        for name in OUTPUTS:
            assert predictions[name].dtype == torch.float32
            assert 0 < relative_error(predictions[name], truth[name]) <= 0.05


@pytest.mark.parametrize(
    "shape, said",
    [
        ((3, 16, 16), "expected"),
        ((2, 1, 16, 16), "RGB"),
        ((0, 3, 16, 16), "expected"),
        ((2, 3, 16, 20), "16 × 20 pixels; both sides must be multiples of the patch size 8"),
        ((2, 3, 0, 16), "multiples"),
    ],
)
def test_images_of_a_wrong_shape_are_refused(toy_model, shape, said):
    with pytest.raises(FgqError, match=said):
        toy_model(torch.zeros(shape))
