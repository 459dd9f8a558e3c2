import pytest
import torch

from fgq.affine import BlockSpec, LearnableBlock, empty_quantized_block
from fgq.errors import FgqError
from fgq.quant import Grid
from fgq.vggt import VGGTConfig

CONFIG = VGGTConfig(img_size=70, embed_dim=32, depth=4, num_heads=4, dpt_layers=(0, 1, 2, 3))


@pytest.mark.parametrize("qkv_clip", ["separate", "shared"])
@pytest.mark.parametrize(
    "transforms, clipping", [("none", "none"), ("kronecker", "learned"), ("rotation_smoothing", "none")]
)
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("weight_bits", [4, 16])
def test_an_empty_block_loads_a_frozen_one_strictly(recorded, weight_bits, symmetric, transforms, clipping, qkv_clip):
    golden = recorded("w4a4", 2)
    grids = Grid(weight_bits, symmetric), Grid(4, symmetric, per="token")
    spec = BlockSpec(*grids, transforms, clipping, qkv_clip)
    frozen = LearnableBlock(golden.block, spec, generator=torch.Generator().manual_seed(0)).freeze()
    empty = empty_quantized_block(CONFIG, spec)
    assert not torch.equal(empty(golden.x, golden.rotary), frozen(golden.x, golden.rotary))
    empty.load_state_dict(frozen.state_dict(), strict=True)
    assert torch.equal(empty(golden.x, golden.rotary), frozen(golden.x, golden.rotary))
    shapes = [{name: (value.shape, value.dtype) for name, value in b.state_dict().items()} for b in (empty, frozen)]
    assert shapes[0] == shapes[1]


def test_diagonals_fold_into_weight_and_bias_of_the_norms(recorded):
    golden = recorded("w4a4", 2)
    frozen = golden.learnable().freeze()
    for norm, site in (("norm1", "attn_in"), ("norm2", "fc1_in")):
        for part in ("weight", "bias"):
            original = getattr(golden.block.get_submodule(norm), part)
            expected = original * golden[f"{site}.diag"]
            assert torch.allclose(getattr(frozen.get_submodule(norm), part), expected)
    assert torch.equal(frozen.transforms["fc2_in"].diagonal, golden["fc2_in.diag"])
    assert "diagonal" not in dict(frozen.transforms["attn_in"].named_buffers())


def test_weights_are_kept_as_codes_only(recorded):
    state = LearnableBlock(recorded("w4a4", 2).block, BlockSpec(Grid(4), Grid(4, per="token"))).freeze().state_dict()
    for linear, shape in (
        ("attn.qkv", (96, 32)),
        ("attn.proj", (32, 32)),
        ("mlp.fc1", (128, 32)),
        ("mlp.fc2", (32, 128)),
    ):
        codes = state[f"{linear}.codes"]
        assert codes.dtype == torch.int8 and codes.shape == shape and codes.abs().max() <= 7
        assert f"{linear}.weight" not in state


def test_building_a_block_draws_no_random_numbers(recorded):
    spec = BlockSpec(Grid(4), Grid(4, per="token"), "kronecker", "learned")
    block = recorded("w4a4", 2).block
    before = torch.random.get_rng_state()
    empty_quantized_block(CONFIG, spec)
    LearnableBlock(block, spec, generator=torch.Generator()).freeze()
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("field, value", [("transforms", "hadamard"), ("clipping", "on"), ("qkv_clip", "none")])
def test_an_unknown_choice_is_an_error_that_names_it(field, value):
    with pytest.raises(FgqError, match=f"{field} '{value}' is unknown"):
        BlockSpec(Grid(4), Grid(4, per="token"), **{field: value})
