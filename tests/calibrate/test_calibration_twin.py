"""The published loop, written down in the plainest way, takes the same steps."""

import statistics

import pytest
import torch

from fgq.affine import LearnableBlock
from fgq.calibrate import find_recipe
from fgq.calibrate.block_loop import BlockProblem, block_generator, calibrate_block, fit
from fgq.calibrate.tokens import TokenLayouts, embed_clips, run_full_precision
from fgq.data.scene import Scene
from tests.calibrate.straightforward import StraightforwardBlock, calibrate_straightforwardly, separate_clips


class RecordingProblem(BlockProblem):
    """Keeps the loss of every step."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.losses = []

    def loss(self, block, inputs, targets):
        loss = super().loss(block, inputs, targets)
        self.losses.append(loss.item())
        return loss


@pytest.fixture
def problems(build_toy):
    """Every block of a toy with its problem, and the twin's final loss and the loss of its every step: by recipe."""
    model = build_toy(seed=3).requires_grad_(False)
    images = torch.rand(5, 3, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    scenes = [Scene(name=str(index), images=each) for index, each in enumerate(images)]
    weights = torch.rand(model.config.num_blocks, 16, generator=torch.Generator().manual_seed(4)) + 0.01
    layouts = TokenLayouts(model.config, images[0], model.device)

    def prepare(recipe):
        inputs = embed_clips(model, scenes, recipe, model.device)
        for index, (name, block) in enumerate(model.aggregator.blocks()):
            targets, largest = run_full_precision(block, name, inputs, layouts, recipe)
            problem = RecordingProblem(name, inputs, targets, weights[index], layouts)
            generator = block_generator(0, index)
            start = LearnableBlock(block, recipe.block_spec(), largest, recipe.smooth_alpha, generator)
            twin = StraightforwardBlock(block, start.state_dict(), recipe.weight_bits, recipe.activation_bits)
            losses, final = calibrate_straightforwardly(
                twin,
                separate_clips(inputs, name),
                separate_clips(targets, name),
                layouts.of(1).arguments(name, inputs[:1])[1],
                weights[index],
                recipe.epochs,
            )
            yield (block, problem, largest, recipe, block_generator(0, index)), start, losses, final
            inputs = targets

    return prepare


def test_the_loss_of_every_step_is_the_twin_s(problems):
    recipe = find_recipe("fgq", 4, 4, {"epochs": 2})
    for (_, problem, *_), start, losses, _ in problems(recipe):
        fit(start, problem, recipe, lambda epoch, loss: None)
        assert len(losses) == 2 * 3 and losses[-1] != losses[0]  # 5 clips, 2 a step
        assert problem.losses == pytest.approx(losses, rel=1e-3)


def test_blocks_end_as_good_as_the_twin_s(problems):
    recipe, ratios = find_recipe("fgq", 4, 4, {"epochs": 8}), []
    for arguments, _, _, final in problems(recipe):
        _, log = calibrate_block(*arguments, lambda epoch, loss: None)
        ratios.append(log.final_weighted_loss / final)
    assert len(ratios) == 4 and statistics.mean(ratios) <= 1.02
