import torch
from torch import nn

from fgq.affine import SITES, linear_inputs
from fgq.vggt.attention import Block
from fgq.vggt.rotary import RotaryTable, patch_positions


def test_the_trace_is_the_block_and_its_linears_inputs():
    torch.manual_seed(0)
    block, x = Block(16, 2, qk_norm=True), torch.randn(2, 9, 16)
    rotary = RotaryTable(patch_positions(2, 2, 5), 8)
    seen, handles = {}, []
    for site in SITES:
        linear = block.get_submodule(site.linear)
        handles.append(linear.register_forward_pre_hook(lambda _, given, name=site.name: seen.update({name: given[0]})))
    expected = block(x, rotary)
    for handle in handles:
        handle.remove()
    output, inputs = linear_inputs(block, x, rotary)
    assert torch.equal(output, expected)
    assert inputs.keys() == seen.keys()
    assert all(torch.equal(inputs[name], seen[name]) for name in seen)


def test_the_table_names_every_linear_layer_of_a_block_once():
    block = Block(16, 2, qk_norm=True)
    linears = [name for name, module in block.named_modules() if isinstance(module, nn.Linear)]
    assert sorted(site.linear for site in SITES) == sorted(linears)
    assert [name for site in SITES for name in site.projections] == ["q", "k", "v", "o", "fc1", "fc2"]


def test_factors_multiply_to_the_width_that_a_site_transforms():
    block = Block(32, 4)
    for site in SITES:
        width = block.get_submodule(site.linear).in_features
        left, right = site.factors(width, 4)
        assert left * right == width
    assert SITES[1].factors(32, 4) == (4, 8)
