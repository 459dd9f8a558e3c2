import copy

import pytest
import torch

import fgq
from fgq.affine import SITES, linear_inputs, site_named
from fgq.affine.transplant import RESCALABLE, block_inputs, rescale_input, transplant_outliers
from fgq.errors import FgqError
from fgq.quant.flatness import channel_magnitude

OUTPUTS = ("pose_enc", "depth", "depth_conf", "world_points", "world_points_conf")


def predictions(model, images):
    with torch.no_grad():
        found = model(images)
    return {name: found[name] for name in OUTPUTS}


@pytest.mark.parametrize("ratio", (20.0, 100.0))
def test_the_function_stays_the_same_to_the_last_bit(toy_model, toy_images, ratio):
    before = predictions(toy_model, toy_images)
    strange = transplant_outliers(toy_model, toy_images, ratio=ratio, channels=3)
    after = predictions(strange, toy_images)
    again = predictions(toy_model, toy_images)
    for name in OUTPUTS:
        assert torch.equal(after[name], before[name]), name
        assert torch.equal(again[name], before[name]), "the given model was changed"


def test_the_function_stays_the_same_in_float64(toy_model, toy_images):
    double, images = toy_model.double(), toy_images.double()
    strange = transplant_outliers(double, images, ratio=80.0, channels=2)
    before, after = predictions(double, images), predictions(strange, images)
    for name in OUTPUTS:
        torch.testing.assert_close(after[name], before[name], rtol=0, atol=1e-9)


@torch.no_grad()
def test_factors_that_are_no_powers_of_two_cost_rounding_errors_only(toy_model, toy_images):
    before = predictions(toy_model.double(), toy_images.double())
    factors = 0.1 + 60 * torch.rand(16, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    for _, block in toy_model.aggregator.blocks():
        for name in RESCALABLE:
            rescale_input(block, site_named(name), factors)
    after = predictions(toy_model, toy_images.double())
    for name in OUTPUTS:
        torch.testing.assert_close(after[name], before[name], rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_every_site_has_as_many_outliers_as_asked_for_and_as_large(toy_model, toy_images):
    ratio, count = 64.0, 3
    strange = transplant_outliers(toy_model, toy_images, ratio=ratio, channels=count)
    inputs = zip(block_inputs(toy_model, toy_images), block_inputs(strange, toy_images), strict=True)
    places = {site.name: set() for site in SITES}
    for (_, old, tokens, rotary), (_, new, same, _) in inputs:
        torch.testing.assert_close(same, tokens)
        before, after = linear_inputs(old, tokens, rotary)[1], linear_inputs(new, tokens, rotary)[1]
        assert torch.equal(before["fc2_in"], after["fc2_in"])
        for name in RESCALABLE:
            gain = channel_magnitude(after[name]) / channel_magnitude(before[name])
            raised = (gain != 1).nonzero()[:, 0]
            places[name].add(tuple(raised.tolist()))
            assert len(raised) == count
            rest = channel_magnitude(before[name])[gain == 1].median()
            reached = (channel_magnitude(after[name])[raised] / rest).sort(descending=True).values
            wanted = torch.tensor([ratio, ratio / 2, ratio / 4])
            assert ((reached / wanted).log2().abs() <= 0.5 + 1e-5).all(), name
    assert all(len(places[name]) == 1 for name in RESCALABLE), "the channels differ between blocks"


def test_the_seed_decides_and_unnamed_sites_stay(toy_model, toy_images):
    one, two, three = (
        transplant_outliers(toy_model, toy_images, channels=2, seed=seed, sites=["fc1_in"]) for seed in (0, 0, 1)
    )
    blocks = [dict(m.aggregator.blocks())["G1"] for m in (toy_model, one, two, three)]
    assert torch.equal(blocks[1].norm2.weight, blocks[2].norm2.weight)
    assert not torch.equal(blocks[1].norm2.weight, blocks[3].norm2.weight)
    assert torch.equal(blocks[0].attn.qkv.weight, blocks[1].attn.qkv.weight)


def test_a_diagonal_that_follows_the_ranges_takes_the_transplant_back(toy_model, toy_images):
    scene = [fgq.data.Scene(name="clip", images=toy_images[0])]
    sites = ["attn_in", "fc1_in"]
    strange = transplant_outliers(toy_model, toy_images[:1], ratio=64.0, channels=2, sites=sites)
    settings = dict(recipe="smoothquant", weight_bits=4, activation_bits=4, progress=False)
    plain = predictions(fgq.quantize(toy_model, scene, **settings), toy_images)
    taken_back = predictions(fgq.quantize(strange, scene, **settings), toy_images)
    for name in OUTPUTS:
        torch.testing.assert_close(taken_back[name], plain[name], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "wrong, word",
    [
        (dict(sites=["fc2_in"]), "fc2_in"),
        (dict(ratio=0.5), "ratio"),
        (dict(ratio=float("nan")), "ratio"),
        (dict(channels=0), "channels"),
        (dict(channels=9), "channels"),
    ],
)
def test_a_request_that_cannot_be_met_is_named(toy_model, toy_images, wrong, word):
    with pytest.raises(FgqError, match=word):
        transplant_outliers(toy_model, toy_images, **wrong)


def test_a_quantized_model_is_refused(toy_model, toy_images):
    rounded = fgq.quantize(copy.deepcopy(toy_model), recipe="rtn", progress=False)
    with pytest.raises(FgqError, match="block F0 is a QuantizedBlock"):
        transplant_outliers(rounded, toy_images)


def test_gelu_lets_no_factor_through(toy_model):
    block = next(iter(toy_model.aggregator.blocks()))[1]
    with pytest.raises(FgqError, match="GELU"):
        rescale_input(block, site_named("fc2_in"), torch.ones(64))
