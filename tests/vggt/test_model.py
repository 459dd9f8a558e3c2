import json
import math
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
