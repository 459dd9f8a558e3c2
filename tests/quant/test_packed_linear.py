"""A layer with packed codes against the same layer with a byte a code: to the bit."""

from dataclasses import replace

import pytest
import torch

from fgq.errors import FgqError
from fgq.quant import FixedClip, Grid, PackedLinear, QuantizedLinear, decode, pack_layers, unpack_layers

KINDS = [(True, None), (False, None), (True, 8), (False, 8)]
TOKENS = Grid(4, per="token")


def layer_of(grid: Grid, width: int = 24, out: int = 12, clips: int = 1, seed: int = 0, **options) -> QuantizedLinear:
    generator = torch.Generator().manual_seed(seed)
    layer = QuantizedLinear(width, out, grid, TOKENS, clips, **options)
    clip = FixedClip(torch.rand(clips, 2, generator=generator) / 2 + 0.5)
    layer.store(torch.randn(out, width, generator=generator), torch.randn(out, generator=generator), clip)
    return layer


def tokens(width: int = 24) -> torch.Tensor:
    return torch.randn(2, 5, width, generator=torch.Generator().manual_seed(9))


@pytest.mark.parametrize("symmetric, group", KINDS)
@pytest.mark.parametrize("bits", range(2, 9))
def test_codes_and_outputs_are_those_of_the_unpacked_layer(bits, symmetric, group, monkeypatch):
    monkeypatch.setattr("fgq.quant.packing.AT_ONCE", 100)  # four rows at a time
    layer = layer_of(Grid(bits, symmetric, group=group))
    packed = PackedLinear.of(layer)
    assert torch.equal(packed(tokens()), layer(tokens()))
    for ours, truth in zip(packed.kept(), layer.kept(), strict=True):
        assert (ours is truth is None) or torch.equal(ours, truth)
    again = packed.unpacked()
    assert type(again) is QuantizedLinear and again.state_dict().keys() == layer.state_dict().keys()
    assert all(torch.equal(tensor, layer.state_dict()[name]) for name, tensor in again.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_clips_and_special_tokens_are_kept(dtype):
    layer = layer_of(Grid(3), clips=3, special_grid=replace(TOKENS, bits=8)).to(dtype)
    packed, special = PackedLinear.of(layer), torch.tensor([0, 2])
    assert packed.special_grid == layer.special_grid and packed.clip.table.shape == (3, 2)
    assert torch.equal(packed(tokens().to(dtype), special), layer(tokens().to(dtype), special))


def test_gradients_pass_to_the_input_as_in_the_unpacked_layer():
    layer, found = layer_of(Grid(4)), []
    for each in (layer, PackedLinear.of(layer)):
        x = tokens().requires_grad_()
        each(x).square().sum().backward()
        found.append(x.grad)
    assert torch.equal(*found) and found[0].any()


def test_it_takes_its_bits_in_memory():
    layer = layer_of(Grid(4), width=1024, out=256)
    taken = {name: tensor.nbytes for name, tensor in PackedLinear.of(layer).state_dict().items()}
    assert taken == {
        "weight_packed": 256 * 1024 // 2,
        "weight_scale": 4 * 256,
        "weight_shape": 16,
        "bias": 4 * 256,
        "clip.table": 8,
    }


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("symmetric, group", KINDS)
def test_the_library_decodes_the_same_weight(bits, symmetric, group):
    quantization = pytest.importorskip("compressed_tensors.quantization", reason="compressed-tensors is not installed")
    from compressed_tensors.compressors.pack_quantized.base import PackedQuantizationCompressor

    layer = layer_of(Grid(bits, symmetric, group=group), out=13)
    strategy = {"strategy": "channel"} if group is None else {"strategy": "group", "group_size": group}
    arguments = quantization.QuantizationArgs(num_bits=bits, symmetric=symmetric, **strategy)
    scheme = quantization.QuantizationScheme(targets=["Linear"], weights=arguments)
    names = PackedQuantizationCompressor.compression_param_names(scheme)
    state = {name: tensor for name, tensor in PackedLinear.of(layer).state_dict().items() if name in names}
    assert state.keys() == set(names)
    found = PackedQuantizationCompressor.decompress(state, scheme)
    assert torch.equal(found["weight"], decode(*layer.kept()))


def test_a_module_is_packed_and_unpacked_layer_by_layer_and_shares_the_rest():
    unrounded = QuantizedLinear(8, 8, Grid(16), TOKENS)
    module = torch.nn.Sequential(layer_of(Grid(5)), torch.nn.LayerNorm(12), unrounded)
    packed = pack_layers(module)
    kinds = [type(each) for each in packed]
    assert kinds == [PackedLinear, torch.nn.LayerNorm, QuantizedLinear] and type(module[0]) is QuantizedLinear
    assert packed[1].weight is module[1].weight and packed[2].weight is module[2].weight
    assert packed[0].bias.data_ptr() == module[0].bias.data_ptr()
    assert [type(each) for each in unpack_layers(packed)] == [QuantizedLinear, torch.nn.LayerNorm, QuantizedLinear]
    assert pack_layers(packed)[0].weight_packed is packed[0].weight_packed


def test_codes_out_of_width_are_named():
    module = torch.nn.Sequential(torch.nn.Identity(), layer_of(Grid(4)))
    module[1].codes[0, 0] = 9
    with pytest.raises(FgqError, match="^1: codes from -?[0-9]+ to 9 do not fit 4 bits"):
        pack_layers(module)


def test_what_cannot_be_packed_or_changed_says_so():
    with pytest.raises(FgqError, match="has no codes to pack"):
        PackedLinear.of(QuantizedLinear(8, 8, Grid(16), TOKENS))
    packed = PackedLinear.of(layer_of(Grid(4)))
    with pytest.raises(FgqError, match="round the unpacked layer"):
        packed.store(torch.ones(12, 24), torch.zeros(12), FixedClip.whole(1))
    packed.check()
    packed.weight_shape = torch.tensor([24, 12])
    with pytest.raises(FgqError, match=r"weight_shape is \[24, 12\], the model has \[12, 24\]"):
        packed.check()
    packed = PackedLinear.of(layer_of(Grid(4)))
    packed.weight_packed = packed.weight_packed.long()
    with pytest.raises(FgqError, match="weight_packed is of type torch.int64, not torch.int32"):
        packed.check()
