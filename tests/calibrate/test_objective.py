import pytest
import torch

from fgq.calibrate import RECIPES, RecipeError, block_loss
from fgq.calibrate.objective import find_weights, normalised
from fgq.errors import FgqError
from fgq.fisher import FisherTable
from fgq.vggt import TASKS
from fgq.vggt.weights import fingerprint


def test_the_loss_is_the_weighted_mean_over_tokens_and_channels():
    generator = torch.Generator().manual_seed(0)
    output, target = torch.randn(2, 2, 3, 4, generator=generator)
    weights = torch.rand(4, generator=generator)
    total = 0.0
    for row, truth in zip(output.flatten(0, 1).tolist(), target.flatten(0, 1).tolist(), strict=True):
        total += sum(w * (a - b) ** 2 for w, a, b in zip(weights.tolist(), row, truth, strict=True))
    assert block_loss(output, target, weights).item() == pytest.approx(total / 24, rel=1e-5)
    assert torch.allclose(block_loss(output, target, torch.ones(4)), torch.nn.functional.mse_loss(output, target))


def test_normalising_gives_the_gradient_of_the_logarithm_whatever_the_scale():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    for scale in (1.0, 1e-6):
        loss = normalised(scale * x.square().sum())
        assert loss.item() == pytest.approx(1)
        (gradient,) = torch.autograd.grad(loss, x)
        assert torch.allclose(gradient, 2 * x.detach() / 5)
    zero = normalised(0 * x.sum())
    assert torch.equal(torch.autograd.grad(zero, x)[0], torch.zeros(2))


def test_uniform_recipes_weigh_every_channel_alike_and_fisher_recipes_as_told(toy_model):
    blocks, channels = toy_model.config.num_blocks, toy_model.config.embed_dim
    assert torch.equal(find_weights(RECIPES["flatquant"], None, toy_model), torch.ones(blocks, channels))
    given = torch.rand(blocks, channels)
    assert torch.equal(find_weights(RECIPES["fgq"], given, toy_model), given)


def test_a_table_must_be_of_this_model(toy_model):
    values = torch.rand(3, toy_model.config.num_blocks, toy_model.config.embed_dim) + 0.1
    about = {"tasks": TASKS, "block_names": tuple(toy_model.config.block_names), "estimator": "sum_of_outputs"}
    table = FisherTable(values, **about, model_hash=fingerprint(toy_model))
    assert torch.equal(find_weights(RECIPES["fgq"], table, toy_model), table.calibration_weights())
    other = FisherTable(values, **about, model_hash="0" * 64)
    with pytest.raises(FgqError, match="estimated on other weights"):
        find_weights(RECIPES["fgq"], other, toy_model)


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda weights: None, "pass fisher="),
        (lambda weights: weights[:, 1:], r"the Fisher weights are \[.*\] .* but the model has"),
        (lambda weights: weights[1:], r"the Fisher weights are \["),
        (lambda weights: weights.index_put((torch.tensor(1), torch.tensor(0)), torch.tensor(float("nan"))), "G0 hold"),
        (lambda weights: weights.index_put((torch.tensor(0), torch.tensor(1)), torch.tensor(-1.0)), "F0 hold NaN or"),
    ],
)
def test_fisher_weights_that_do_not_fit_are_refused(toy_model, spoil, message):
    weights = torch.ones(toy_model.config.num_blocks, toy_model.config.embed_dim)
    with pytest.raises(RecipeError, match=message):
        find_weights(RECIPES["fgq"], spoil(weights), toy_model)
