import pytest
import torch
from torch import nn

from fgq.affine import cayley, random_orthogonal
from fgq.affine.orthogonal import inverse_cayley, reachable_signs


@pytest.mark.parametrize("size", [1, 4, 17])
def test_the_cayley_map_agrees_with_torchs_parametrization(size):
    free = torch.randn(size, size, generator=torch.Generator().manual_seed(size), dtype=torch.float64)
    linear = nn.Linear(size, size, bias=False, dtype=torch.float64)
    nn.utils.parametrizations.orthogonal(linear, orthogonal_map="cayley", use_trivialization=False)
    with torch.no_grad():
        linear.parametrizations.weight.original.copy_(free)
    assert torch.allclose(cayley(free), linear.weight, atol=1e-12)


@pytest.mark.parametrize("size", [2, 8])
def test_the_cayley_map_of_a_stack_is_orthogonal_and_keeps_orientation(size):
    free = 3 * torch.randn(2, size, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    q = cayley(free)
    assert torch.allclose(q, torch.stack([cayley(free[0]), cayley(free[1])]), atol=1e-12)
    assert torch.allclose(q @ q.mT, torch.eye(size, dtype=torch.float64).expand(2, size, size), atol=1e-12)
    assert torch.allclose(torch.linalg.det(q), torch.ones(2, dtype=torch.float64))


def test_random_matrices_are_orthogonal_and_follow_the_generator():
    first, again, other = (random_orthogonal(3, 6, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.allclose(first @ first.mT, torch.eye(6).expand(3, 6, 6), atol=1e-5)
    assert torch.equal(first, again) and not torch.allclose(first, other)
    # Uniform: the mean over many draws of any entry is 0 with variance 1 / size, signs of the QR included.
    many = random_orthogonal(20000, 3, torch.Generator().manual_seed(0))
    assert many.mean(0).abs().max() < 0.02 and (many.var(0) - 1 / 3).abs().max() < 0.02


@pytest.mark.parametrize("size", [1, 2, 5, 16])
def test_with_signs_every_orthogonal_matrix_is_a_cayley_map(size):
    generator = torch.Generator().manual_seed(size)
    drawn = list(torch.linalg.qr(torch.randn(20, size, size, generator=generator).double()).Q)
    reflections = [-torch.eye(size).double(), torch.eye(size).double().flip(0)]
    for q in [*drawn, *(-each for each in drawn), *reflections]:
        turned = q * reachable_signs(q)
        assert torch.linalg.det(torch.eye(size) + turned) >= 1 - 1e-9  # far from the eigenvalue -1
        torch.testing.assert_close(cayley(inverse_cayley(turned)), turned)
