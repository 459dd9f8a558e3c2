import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fgq.affine import GivenKronecker, LearnableKronecker, apply_kronecker, apply_left, balanced_factors
from fgq.affine.kronecker import all_matrices, diagonal_ratio


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("rows", [(), (7,), (2, 3)])
@pytest.mark.parametrize("left, right", [(4, 8), (1, 5), (6, 2)])
def test_products_agree_with_the_full_kronecker_matrix(left, right, rows):
    x, a, b = random(*rows, left * right), random(left, left, seed=1), random(right, right, seed=2)
    assert torch.allclose(apply_kronecker(x, a, b), x @ torch.kron(a, b), atol=1e-12)
    assert torch.allclose(apply_left(x, a), x @ torch.kron(a, torch.eye(right, dtype=a.dtype)), atol=1e-12)


@given(st.integers(1, 5000))
def test_factors_are_the_closest_pair(width):
    left, right = balanced_factors(width)
    assert left * right == width and left <= right
    assert not any(width % between == 0 for between in range(left + 1, right))


def test_factors_of_the_widths_that_vggt_has():
    assert [balanced_factors(width) for width in (32, 128, 512, 1024, 4096)] == [
        (4, 8),
        (8, 16),
        (16, 32),
        (32, 32),
        (64, 64),
    ]


def test_transforming_input_and_weight_leaves_their_product():
    diagonal = torch.rand(24, generator=torch.Generator().manual_seed(3)) + 0.5
    transform = LearnableKronecker(4, 6, diagonal, torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        transform.left.stretch.uniform_(0.5, 2, generator=torch.Generator().manual_seed(1))
        transform.right.stretch.uniform_(0.5, 2, generator=torch.Generator().manual_seed(2))
    x, weight, matrices = random(9, 24), random(5, 24, seed=1), transform.matrices()
    assert not torch.allclose(matrices.apply(x), x, atol=0.1)
    assert torch.allclose(matrices.apply(x) @ matrices.apply_inverse(weight).T, x @ weight.T, atol=1e-10)


def test_an_identity_transform_changes_nothing():
    transform = LearnableKronecker(4, 6, torch.rand(24), torch.Generator().manual_seed(0))
    transform.become_identity()
    x = random(9, 24).float()
    assert torch.allclose(transform.matrices().apply(x), x, atol=1e-6)


def test_the_condition_is_that_of_the_full_product_and_the_diagonal_has_its_own():
    transform = LearnableKronecker(4, 6, torch.tensor([0.5, -4.0] * 12), torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        transform.left.stretch.uniform_(0.5, 2, generator=torch.Generator().manual_seed(1))
        transform.right.stretch.uniform_(0.5, 2, generator=torch.Generator().manual_seed(2))
        matrices = transform.matrices()
    full = torch.kron(matrices.left.forward, matrices.right.forward)
    assert transform.condition() == pytest.approx(torch.linalg.cond(full).item(), rel=1e-9)
    assert diagonal_ratio(transform) == pytest.approx(8.0)
    assert diagonal_ratio(LearnableKronecker(4, 6)) == 1.0 and LearnableKronecker(4, 6).condition() == 1.0


def test_a_diagonal_that_learning_brought_to_zero_is_moved_off_it():
    transform = LearnableKronecker(4, 6, torch.ones(24))
    with torch.no_grad():
        transform.diagonal[3:5] = torch.tensor([0.0, -1e-30])
    transform.keep_invertible()
    assert transform.diagonal[3:6].tolist() == pytest.approx([1e-5, -1e-5, 1.0])


@pytest.mark.parametrize("both", [True, False])
def test_gradients_of_the_product_are_those_of_the_definition(both):
    x, left, right = (
        random(*shape, seed=seed).requires_grad_() for seed, shape in enumerate([(5, 12), (3, 3), (4, 4)])
    )
    arguments = (x, left, right) if both else (x, left)
    assert torch.autograd.gradcheck(apply_kronecker if both else apply_left, arguments)


def test_matrices_computed_together_are_those_computed_alone():
    sizes, generator = {"a": (2, 3), "b": (3, 2), "c": (3, 3)}, torch.Generator().manual_seed(0)
    learnable = {
        name: LearnableKronecker(*size, torch.ones(size[0] * size[1]), generator) for name, size in sizes.items()
    }
    known = GivenKronecker(torch.eye(2), torch.eye(2))
    found = all_matrices(learnable | {"d": known})
    assert list(found) == ["a", "b", "c", "d"] and torch.equal(found["d"].left.forward, torch.eye(2))
    for name, transform in learnable.items():
        for side in ("left", "right"):
            together, alone = getattr(found[name], side), getattr(transform, side).pair()
            assert torch.allclose(together.forward, alone.forward, atol=1e-6)
            assert torch.allclose(together.forward.T @ together.inverse, torch.eye(len(alone.forward)), atol=1e-5)
