import pytest

from fgq.errors import FgqError
from fgq.vggt import VGGTConfig


def test_defaults_spread_the_dense_layers_as_published():
    assert VGGTConfig(dpt_layers=None).dpt_layers == VGGTConfig().dpt_layers == [4, 11, 17, 23]


@pytest.mark.parametrize("depth", [1, 2, 3, 6, 12])
def test_spread_layers_exist_and_end_with_the_last(depth):
    layers = VGGTConfig(depth=depth, dpt_layers=None).dpt_layers
    assert layers == sorted(layers) and layers[0] >= 0 and layers[-1] == depth - 1


def test_block_names_follow_running_order():
    assert VGGTConfig(depth=2, dpt_layers=None).block_names == ["F0", "G0", "F1", "G1"]


@pytest.mark.parametrize(
    "sizes, said",
    [
        ({"embed_dim": 100}, "embed_dim 100 is not a multiple of num_heads 16"),
        ({"embed_dim": 96}, "each head has 6 channels"),
        ({"img_size": 500}, "img_size 500 is not a multiple of patch_size 14"),
        ({"dpt_layers": (1, 2)}, "four entries"),
        ({"depth": 4}, "do not exist in a model of depth 4"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(sizes, said):
    with pytest.raises(FgqError, match=said):
        VGGTConfig(**sizes)
