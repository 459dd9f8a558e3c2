import pytest
import torch

from fgq.calibrate import RECIPES, RecipeError, block_loss
from fgq.calibrate.objective import find_weights, normalised

NAMES = ["F0", "G0"]


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


def test_uniform_recipes_weigh_every_channel_alike_and_fisher_recipes_as_told():
    assert torch.equal(find_weights(RECIPES["flatquant"], None, NAMES, 3), torch.ones(2, 3))
    given = torch.rand(2, 3)
    assert torch.equal(find_weights(RECIPES["fgq"], given, NAMES, 3), given)

    class Table:
        block_names = ("F0", "G0")

        def calibration_weights(self):
            return given

    assert torch.equal(find_weights(RECIPES["fgq"], Table(), NAMES, 3), given)
    Table.block_names = ("F0", "F1")
    with pytest.raises(RecipeError, match="the Fisher table's blocks are"):
        find_weights(RECIPES["fgq"], Table(), NAMES, 3)


@pytest.mark.parametrize(
    "fisher, message",
    [
        (None, "pass fisher="),
        (torch.ones(2, 4), r"the Fisher weights are \[2, 4\] .* but the model has \[2, 3\]"),
        (torch.ones(4, 3), r"the Fisher weights are \[4, 3\]"),
        (torch.tensor([[1.0, 1, 1], [1, float("nan"), 1]]), "block G0 hold NaN"),
        (torch.tensor([[1.0, -1, 1], [1, 1, 1]]), "block F0 hold NaN or negatives"),
    ],
)
def test_fisher_weights_that_do_not_fit_are_refused(fisher, message):
    with pytest.raises(RecipeError, match=message):
        find_weights(RECIPES["fgq"], fisher, NAMES, 3)
