import threading

import pytest
import torch

from fgq.affine import SITES
from fgq.calibrate import RECIPES, RecipeError
from fgq.calibrate.layouts import TokenLayouts, batches
from fgq.calibrate.tokens import check_scenes, embed_scenes, run_full_precision, stream
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
        embed_scenes(toy_model, scenes, recipe, toy_model.device),
        TokenLayouts(toy_model.config, scenes[0].images, toy_model.device),
    )
    for (name, block), output in zip(toy_model.aggregator.blocks(), expected, strict=True):
        tokens, maxima = run_full_precision(block, name, tokens, layouts, recipe)
        assert torch.allclose(tokens.flatten(0, 1), output, atol=1e-5)
        assert maxima.keys() == {site.name for site in SITES}


def test_maxima_are_taken_over_all_clips(toy_model):
    scenes, recipe = make_scenes(3), RECIPES["fgq"]
    tokens, layouts = (
        embed_scenes(toy_model, scenes, recipe, toy_model.device),
        TokenLayouts(toy_model.config, scenes[0].images, toy_model.device),
    )
    block = toy_model.aggregator.frame_blocks[0]
    _, maxima = run_full_precision(block, "F", tokens, layouts, recipe)
    with torch.no_grad():
        normed = block.norm1(tokens)
    assert torch.allclose(maxima["attn_in"], normed.abs().flatten(0, -2).max(0).values, atol=1e-5)


def test_too_few_scenes_are_counted():
    with pytest.raises(RecipeError, match="1 calibration scenes are too few for a step of 2 scenes"):
        check_scenes(make_scenes(1), RECIPES["fgq"])
    with pytest.raises(RecipeError, match="0 calibration scenes"):
        check_scenes([], RECIPES["rtn"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_batches_come_in_order_and_complete(toy_model, dtype):
    layouts = TokenLayouts(toy_model.config, make_scenes(1)[0].images, "cpu")
    inputs, targets = torch.randn(2, 5, 3, 4, 6, generator=torch.Generator().manual_seed(0)).to(dtype)
    pairs = list(stream(layouts, batches(5, 2), inputs, targets))
    assert [len(clips) for clips, _ in pairs] == [2, 2, 1]
    for got, whole in zip(map(torch.cat, zip(*pairs, strict=True)), (inputs, targets), strict=True):
        assert got.dtype == torch.float32 and torch.equal(got, whole.float())


def test_the_next_batch_is_read_while_this_one_is_used(toy_model, monkeypatch):
    layouts, read = TokenLayouts(toy_model.config, make_scenes(1)[0].images, "cpu"), []
    changed = threading.Condition()

    def bring(self, tokens):
        with changed:
            read.append(threading.current_thread())
            changed.notify_all()
        return tokens

    monkeypatch.setattr(TokenLayouts, "bring", bring)
    coming = stream(layouts, batches(6, 2), torch.zeros(6, 1, 1, 1, dtype=torch.bfloat16))
    next(coming)
    with changed:
        assert changed.wait_for(lambda: len(read) == 2, timeout=60)  # although only one was asked for
    assert threading.current_thread() not in read
    assert len(list(coming)) == 2 and len(read) == 3


def test_a_batch_that_cannot_be_read_is_an_error_in_its_turn(toy_model, monkeypatch):
    def bring(self, tokens):
        if tokens[0] == 4:
            raise OSError("the disk is gone")
        return tokens

    monkeypatch.setattr(TokenLayouts, "bring", bring)
    layouts = TokenLayouts(toy_model.config, make_scenes(1)[0].images, "cpu")
    coming = stream(layouts, batches(6, 2), torch.arange(6, dtype=torch.bfloat16).view(6, 1, 1, 1))
    assert [next(coming)[0].flatten().tolist(), next(coming)[0].flatten().tolist()] == [[0, 1], [2, 3]]
    with pytest.raises(OSError, match="the disk is gone"):
        next(coming)
