import pytest
import torch

from fgq.affine import SITES
from fgq.calibrate import RECIPES, RecipeError
from fgq.calibrate.tokens import TokenLayouts, check_scenes, embed_clips, run_full_precision
from fgq.data.scene import Scene


def make_scenes(count, frames=3, height=16, width=24):
    generator = torch.Generator().manual_seed(0)
    return [Scene(f"s{i}", torch.rand(frames, 3, height, width, generator=generator)) for i in range(count)]


def test_streamed_blocks_give_the_models_own_outputs(toy_model):
    scenes, recipe = make_scenes(3), RECIPES["fgq"]
    images = torch.stack([scene.images for scene in scenes])
    with torch.no_grad():
        expected = toy_model.aggregator(images)
    tokens, layouts = (
        embed_clips(toy_model, scenes, recipe, toy_model.device),
        TokenLayouts(toy_model.config, scenes[0].images, toy_model.device),
    )
    for (name, block), output in zip(toy_model.aggregator.blocks(), expected, strict=True):
        tokens, maxima = run_full_precision(block, name[0], tokens, layouts, recipe)
        assert torch.allclose(tokens.flatten(0, 1), output, atol=1e-5)
        assert maxima.keys() == {site.name for site in SITES}


def test_maxima_are_taken_over_all_clips(toy_model):
    scenes, recipe = make_scenes(3), RECIPES["fgq"]
    tokens, layouts = (
        embed_clips(toy_model, scenes, recipe, toy_model.device),
        TokenLayouts(toy_model.config, scenes[0].images, toy_model.device),
    )
    block = toy_model.aggregator.frame_blocks[0]
    _, maxima = run_full_precision(block, "F", tokens, layouts, recipe)
    with torch.no_grad():
        normed = block.norm1(tokens)
    assert torch.allclose(maxima["attn_in"], normed.abs().flatten(0, -2).max(0).values, atol=1e-5)


def test_scenes_that_cannot_be_batched_are_named():
    recipe = RECIPES["fgq"]
    with pytest.raises(RecipeError, match="1 calibration scenes are too few for a step of 2 clips"):
        check_scenes(make_scenes(1), recipe)
    with pytest.raises(RecipeError, match="0 calibration scenes"):
        check_scenes([], RECIPES["rtn"])
    odd = Scene("odd one", torch.rand(2, 3, 16, 24))
    with pytest.raises(
        RecipeError, match=r"scene odd one has images \[2, 3, 16, 24\], but scene s0 has \[3, 3, 16, 24\]"
    ):
        check_scenes([*make_scenes(2), odd], recipe)
    wide = Scene("wide one", torch.rand(3, 3, 16, 32))
    with pytest.raises(RecipeError, match="wide one"):
        check_scenes([*make_scenes(2), wide], recipe)
