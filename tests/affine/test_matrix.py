import torch

from fgq.affine import LearnableMatrix


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
