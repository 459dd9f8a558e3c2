"""The published loop, written down in the plainest way, takes the same steps."""

import statistics
from dataclasses import dataclass, field

import pytest
import torch

from fgq.affine import LearnableBlock
from fgq.calibrate import find_recipe
from fgq.calibrate.loop import block_problems, calibrate_block, fit
from fgq.calibrate.problem import BlockProblem, Calibration
from fgq.calibrate.token_store import TokenStore
from fgq.calibrate.tokens import TokenLayouts, embed_scenes
from fgq.data.scene import Scene
from tests.calibrate.straightforward import StraightforwardBlock, calibrate_straightforwardly, separate_clips


@dataclass(frozen=True)
class RecordingProblem(BlockProblem):
    """Keeps the loss of every step."""

    losses: list[float] = field(default_factory=list)

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
    layouts, names = TokenLayouts(model.config, images[0], model.device), model.config.block_names

    def prepare(recipe):
        inputs = embed_scenes(model, scenes, recipe, model.device)
        calibration = Calibration(recipe, weights, 0, layouts)
        for problem in block_problems(model, inputs, inputs, set(names), calibration, TokenStore(), {}):
            start = LearnableBlock(
                problem.block, recipe.block_spec(), problem.input_max, recipe.smooth_alpha, problem.generator
            )
            twin = StraightforwardBlock(problem.block, start.state_dict(), recipe.weight_bits, recipe.activation_bits)
            losses, final = calibrate_straightforwardly(
                twin,
                separate_clips(problem.inputs, problem.name),
                separate_clips(problem.targets, problem.name),
                layouts.of(1).arguments(problem.name, problem.inputs[:1])[1],
                weights[problem.index],
                recipe.epochs,
            )
            yield RecordingProblem(**vars(problem)), start, losses, final

    return prepare


def test_the_loss_of_every_step_is_the_twin_s(problems):
    recipe = find_recipe("fgq", 4, 4, {"epochs": 2})
    for problem, start, losses, _ in problems(recipe):
        fit(start, problem, recipe.learning_rate, lambda epoch, loss: None)
        assert len(losses) == 2 * 3 and losses[-1] != losses[0]  # 5 clips, 2 a step
        assert problem.losses == pytest.approx(losses, rel=1e-3)


def test_blocks_end_as_good_as_the_twin_s(problems):
    recipe, ratios = find_recipe("fgq", 4, 4, {"epochs": 8}), []
    for problem, _, _, final in problems(recipe):
        _, log = calibrate_block(problem)
        ratios.append(log.final_weighted_loss / final)
    assert len(ratios) == 4 and statistics.mean(ratios) <= 1.02
