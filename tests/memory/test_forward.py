import pytest
import torch
from torch._subclasses import FakeTensorMode

from fgq.errors import FgqError
from fgq.memory.forward import LiveBytes, forecast
from fgq.vggt.weights import empty_model


def test_live_bytes_count_what_is_held_at_once():
    with FakeTensorMode(), LiveBytes() as live:
        first = torch.empty(1000)  # 4000 bytes
        second = first + 1  # 8000
        view = second[:10]  # a view takes nothing
        del second
        third = first * 2  # the view still holds the second: 12000
        del view, first, third
        torch.empty(500)
    assert live.peak == 12000
    assert len(live.alive) == 1  # the last operation's result; everything else was let go of


def test_known_storages_do_not_count():
    with FakeTensorMode():
        weight = torch.empty(100, 100)
        with LiveBytes([weight]) as live:
            weight.T.reshape(50, 200)  # transposed: a copy
            weight.view(10, 1000)
    assert live.peak == 4 * 100 * 100


def test_operations_are_those_of_the_papers_layers(build_toy):
    """Each token's products: 12 C² of a block's four layers, 2 T C of its attention; two operations a product."""
    config = build_toy().config
    rows, columns, frames = 4, 6, 3
    tokens = config.num_special_tokens + rows * columns
    width, head = config.embed_dim, 2 * config.embed_dim
    layers = config.encoder_depth + 2 * config.depth
    products = layers * frames * tokens * 12 * width**2
    products += (config.encoder_depth + config.depth) * frames * tokens * 2 * tokens * width
    products += config.depth * frames * tokens * 2 * frames * tokens * width
    products += 4 * frames * (config.camera_trunk_depth * (12 * head**2 + 2 * frames * head))
    products += 4 * frames * (9 * head + 3 * head**2 + head * head // 2 + 9 * head // 2)
    expected = forecast(empty_model(config), frames, 8 * rows, 8 * columns)
    assert expected.block_operations == 2 * products
    patches = 2 * frames * rows * columns * 3 * config.patch_size**2 * width
    assert expected.convolution_operations > patches
    assert expected.weight_bytes == sum(tensor.nbytes for tensor in build_toy().state_dict().values())


def test_half_precision_halves_the_weights_and_nearly_the_rest(build_toy):
    config = build_toy().config
    full, half = (forecast(empty_model(config), 4, 64, 64, dtype) for dtype in (torch.float32, torch.bfloat16))
    assert 2 * half.weight_bytes == full.weight_bytes
    assert 0.45 < half.activation_bytes / full.activation_bytes < 0.8
    assert half.block_operations == full.block_operations


def test_memory_grows_with_frames_and_pixels(build_toy):
    config = build_toy().config
    small, long, large = (forecast(empty_model(config), *clip) for clip in ((2, 64, 64), (8, 64, 64), (2, 128, 128)))
    for more in (long, large):
        assert 2 < more.activation_bytes / small.activation_bytes < 6
        assert more.weight_bytes == small.weight_bytes


def test_sizes_that_the_model_refuses_are_refused(build_toy):
    with pytest.raises(FgqError, match="multiples of the patch size 8"):
        forecast(empty_model(build_toy().config), 1, 64, 65)
