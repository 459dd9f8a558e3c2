import pytest
import torch

from fgq.affine import LearnableMatrix
from fgq.affine.matrix import LARGEST_STRETCH


def test_the_inverse_transpose_is_exact_and_has_gradients():
    matrix = LearnableMatrix(6, torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        matrix.stretch.uniform_(0.5, 2, generator=torch.Generator().manual_seed(1))
    forward, inverse = matrix.pair()
    assert torch.allclose(inverse, torch.linalg.inv(forward).T, atol=1e-10)

    def pair_of(free, stretch):
        return tuple(torch.func.functional_call(PairModule(matrix), {"m.free": free, "m.stretch": stretch}, ()))

    inputs = tuple(parameter.detach().clone().requires_grad_() for parameter in matrix.parameters())
    assert torch.autograd.gradcheck(pair_of, inputs)


class PairModule(torch.nn.Module):
    def __init__(self, m):
        super().__init__()
        self.m = m

    def forward(self):
        return self.m.pair()


def test_it_can_become_the_identity():
    matrix = LearnableMatrix(5, torch.Generator().manual_seed(0))
    matrix.become_identity()
    for side in matrix.pair():
        assert torch.allclose(side, torch.eye(5))


def test_the_condition_is_that_of_the_matrix():
    matrix = LearnableMatrix(6, torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        matrix.stretch.copy_(torch.tensor([0.5, -3.0, 1.0, 0.25, 2.0, -0.7]))
    assert matrix.condition() == pytest.approx(torch.linalg.cond(matrix.pair().forward.detach()).item(), rel=1e-9)
    assert matrix.condition() == pytest.approx(12.0)


def test_after_a_wild_step_it_is_invertible_again_and_moderate_ones_are_left_alone():
    matrix = LearnableMatrix(6)
    inside = torch.tensor([1 / 32, -32.0, 1.0, -0.5, 2.0, 31.9])
    with torch.no_grad():
        matrix.stretch.copy_(inside)
    matrix.keep_invertible()
    assert torch.equal(matrix.stretch, inside)
    with torch.no_grad():
        matrix.stretch.copy_(torch.tensor([0.0, -1e9, 1e-9, -1e-9, torch.inf, 2.0]))
    matrix.keep_invertible()
    low, high = 1 / LARGEST_STRETCH, LARGEST_STRETCH
    assert matrix.stretch.tolist() == [low, -high, low, -low, high, 2.0]
    assert matrix.stretch.requires_grad and matrix.condition() == LARGEST_STRETCH**2


@pytest.mark.parametrize("size", [1, 2, 9, 32])
def test_it_can_become_any_matrix_within_its_bounds(size):
    generator = torch.Generator().manual_seed(size)
    for _ in range(10):
        wanted = torch.randn(size, size, generator=generator)
        u, s, v = torch.linalg.svd(wanted)
        matrix = LearnableMatrix(size, generator)
        matrix.become(wanted)
        bounded = u @ torch.diag(s.clamp(1 / LARGEST_STRETCH, LARGEST_STRETCH)) @ v
        torch.testing.assert_close(matrix.pair().forward, bounded, rtol=1e-3, atol=1e-4)
