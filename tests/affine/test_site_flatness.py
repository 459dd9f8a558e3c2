import pytest
import torch

import fgq
from fgq.affine import SITES
from fgq.affine.site_flatness import measure_flatness
from fgq.affine.sites import linear_inputs
from fgq.quant.linear import QuantizedLinear


@pytest.mark.parametrize("recipe", ("rtn", "quarot"))
def test_linear_inputs_are_what_the_linear_layers_are_given(toy_model, recipe):
    rounded = fgq.quantize(toy_model, recipe=recipe, weight_bits=4, activation_bits=4, progress=False)
    block = dict(rounded.aggregator.blocks())["F1"]
    x = torch.randn(2, 8, 16, generator=torch.Generator().manual_seed(0))
    seen, handles = {}, []
    for site in SITES:
        linear = block.get_submodule(site.linear)
        assert isinstance(linear, QuantizedLinear)
        handles.append(linear.register_forward_pre_hook(lambda _, given, name=site.name: seen.update({name: given[0]})))
    with torch.no_grad():
        block(x)
        found = linear_inputs(block, x)[1]
    for handle in handles:
        handle.remove()
    assert found.keys() == seen.keys()
    assert all(torch.equal(found[name], seen[name]) for name in seen)


def test_a_row_for_each_block_and_site_with_the_numbers_of_its_input(toy_model, toy_images):
    table = measure_flatness(toy_model, toy_images, bits=3)
    names = [name for name, _ in toy_model.aggregator.blocks()]
    assert list(zip(table.block, table.site, strict=True)) == [(name, site.name) for name in names for site in SITES]
    seen = []
    block = dict(toy_model.aggregator.blocks())["G1"]
    handle = block.mlp.fc1.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        toy_model(toy_images)
    handle.remove()
    x = seen[0].flatten(0, -2)
    row = table[(table.block == "G1") & (table.site == "fc1_in")].iloc[0]
    channels = x.abs().amax(0)
    tokens = x.abs().amax(1)
    assert row.range == pytest.approx(float(x.max() - x.min()))
    assert row.outlier_ratio == pytest.approx(float(channels.max() / channels.median()))
    assert row.token_ratio == pytest.approx(float(tokens.max() / tokens.median()))
    assert row.crest == pytest.approx(float((tokens / x.square().mean(1).sqrt()).median()))
    step = tokens[:, None] / 3
    error = (x / step).round().clamp(-4, 3) * step - x
    assert row.decibels == pytest.approx(float(10 * (x.square().mean() / error.square().mean()).log10()), abs=1e-3)


def test_models_are_compared_on_the_tokens_of_the_reference(toy_model, build_toy, toy_images):
    rounded = fgq.quantize(toy_model, recipe="rtn", weight_bits=2, activation_bits=2, progress=False)
    same = measure_flatness(rounded, toy_images, reference=toy_model)
    plain = measure_flatness(toy_model, toy_images)
    first = same.site == "attn_in"  # no rounding of the same block lies before it
    assert same[first].equals(plain[first])
    assert not same[~first].equals(plain[~first])
    other = measure_flatness(rounded, toy_images, reference=build_toy(1))
    assert not other[first].equals(plain[first])
