"""Whole models that multiply integers, against the same models in fake quantization; the choice of kernels."""

import copy
import json

import pytest
import torch

import fgq
from fgq.affine.sites import SITES
from fgq.quant import FixedClip, Grid, kernel_choice
from fgq.quant.integer import encode_kinds
from fgq.quant.integer_linear import IntegerLinear
from fgq.quant.kernel_choice import FAKE, with_integers
from fgq.quant.linear import QuantizedLinear, quantize_kinds


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv(kernel_choice.CACHE, str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def scenes():
    return fgq.load_scenes("playroom", split="test", count=3, frames=2, seed=0)


@pytest.fixture(scope="module", params=["rtn W4A4", "quarot W4A8 in groups", "rtn W3A4 asymmetric"])
def fake(request):
    options = {
        "rtn W4A4": dict(recipe="rtn", weight_bits=4, activation_bits=4, encoder="nearest", special_activation_bits=8),
        "quarot W4A8 in groups": dict(recipe="quarot", weight_bits=4, activation_bits=8, weight_group=16),
        "rtn W3A4 asymmetric": dict(recipe="rtn", weight_bits=3, activation_bits=4, weight_symmetric=False),
    }[request.param]
    clips = fgq.load_scenes("playroom", split="calibration", count=1, frames=2, seed=0)
    return fgq.quantize(fgq.load_model("vggt-tiny"), clips, progress=False, **options)


def inputs_of(model, images):
    """Of every quantized layer, in a forward pass: input and the rows of special tokens."""
    seen = {}
    hooks = [
        module.register_forward_pre_hook(lambda _, given, path=path: seen.setdefault(path, given))
        for path, module in model.named_modules()
        if isinstance(module, QuantizedLinear)
    ]
    with torch.no_grad():
        model(images)
    for hook in hooks:
        hook.remove()
    return seen


def test_every_layer_of_a_model_has_the_same_codes_and_outputs(fake, scenes):
    integer, table = with_integers(fake, tokens=8, kernel="int8")
    layers = dict(fake.named_modules())
    assert len(table) >= len(SITES) * fake.config.num_blocks and set(table.kernel) == {"int8"}
    for path, given in inputs_of(fake, scenes[0].images).items():
        layer, own = layers[path], integer.get_submodule(path)
        assert isinstance(own, IntegerLinear) and own.layer.codes is layer.codes
        x, special = given[0], (given[1] if len(given) > 1 else None)
        grids = layer.activation_grid, layer.clip, layer.special_grid, special
        assert torch.equal(encode_kinds(x, *grids).values(), quantize_kinds(x, *grids))
        expected, found = layer(x, special), own(x, special)
        assert (found - expected).norm() <= 1e-5 * expected.norm()


def test_a_whole_model_gives_the_same_where_sums_of_floating_point_are_as_good_as_exact(fake, scenes):
    """In float32 a sum that is rounded otherwise moves a value over the edge between two codes now and then."""
    fake = copy.deepcopy(fake).double()
    integer, _ = with_integers(fake, tokens=8, kernel="int8")
    images = scenes[0].images.double()
    with torch.no_grad():
        expected, found = fake(images), integer(images)
    for name in ("pose_enc", "depth", "world_points"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("out, width", [(3072, 1024), (1024, 1024), (4096, 1024), (1024, 4096)])
def test_the_layers_of_a_block_of_the_big_model_give_the_same(out, width):
    generator = torch.Generator().manual_seed(0)
    layer = QuantizedLinear(width, out, Grid(4), Grid(8, per="token"))
    weight, bias = (torch.randn(*shape, generator=generator) for shape in ((out, width), (out,)))
    layer.store(weight, bias, FixedClip.whole(1))
    x = torch.randn(1, 24, width, generator=generator)
    expected, found = layer(x), IntegerLinear(layer, "float32")(x)
    assert (found - expected).norm() <= 1e-5 * expected.norm()


def test_a_saved_model_is_the_same_whether_it_multiplies_integers_or_not(fake, tmp_path):
    integer, _ = with_integers(fake, tokens=8, kernel="int8")
    assert {name.replace(".layer.", ".") for name in integer.state_dict()} == set(fake.state_dict())


def test_the_fastest_is_chosen_and_remembered(fake, monkeypatch):
    calls = []

    def timed(module, x):
        calls.append(module)
        name = module.kernel.name if isinstance(module, IntegerLinear) else FAKE
        return {"int8": 2.0, "float32": 1.0, FAKE: 3.0}[name] if module_width(module) != 64 else 0.5

    def module_width(module):
        return module.layer.in_features if isinstance(module, IntegerLinear) else module.in_features

    monkeypatch.setattr(kernel_choice, "timed", timed)
    _, table = with_integers(fake, tokens=8)
    assert set(table[table.width != 64].kernel) == {"float32"}
    first = len(calls)
    assert 0 < first < 3 * len(table)  # layers that are alike are timed once
    _, again = with_integers(fake, tokens=8)
    assert len(calls) == first and again.equals(table)
    with_integers(fake, tokens=9)
    assert len(calls) == 2 * first


def test_a_cache_that_cannot_be_read_is_made_again(fake, monkeypatch, tmp_path):
    monkeypatch.setattr(kernel_choice, "timed", lambda module, x: 1.0)
    path = tmp_path / "cache" / "kernels.json"
    path.parent.mkdir()
    path.write_text("{")
    with_integers(fake, tokens=8)
    assert set(json.loads(path.read_text()).values()) == {1.0}


def test_what_cannot_multiply_integers_stays_and_is_told():
    half = fgq.quantize(fgq.load_model("vggt-tiny"), recipe="rtn", weight_bits=4, activation_bits=16)
    integer, table = with_integers(half, tokens=8)
    assert set(table.kernel) == {FAKE} and table.reason.str.contains("activations have 16 bits").all()
    assert not any(isinstance(module, IntegerLinear) for module in integer.modules())
