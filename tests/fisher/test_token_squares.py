"""Squares of single tokens, against the matrices of whole layers and against gradients that are taken one by one."""

import pytest
import torch

from fgq.affine.sites import SITES
from fgq.data.scene import Scene
from fgq.errors import FgqError
from fgq.fisher.output_factors import FactorPlan, layer_gradients, output_factors
from fgq.fisher.token_squares import token_squares


@pytest.fixture
def model(build_toy):
    return build_toy(embed_dim=16)


@pytest.fixture
def scenes():
    generator = torch.Generator().manual_seed(3)
    return [Scene(f"s{i}", torch.rand(2, 3, 16, 16, generator=generator)) for i in range(3)]


def find(model, scenes, groups=4, plan=None, batch_size=1):
    return token_squares(model, scenes, plan or FactorPlan(3, seed=5), groups, batch_size, progress=False)


def test_over_all_tokens_they_are_the_diagonal_of_the_output_matrix(model, scenes):
    """Of one channel a group, Σ over clips and tokens of g² is H_O's diagonal; of four, the mean of its shares."""
    whole = output_factors(model, scenes, FactorPlan(3, seed=5), progress=False)
    single, shared = find(model, scenes, 16), find(model, scenes, 4)
    for name, sites in whole.items():
        for site in SITES:
            diagonal = sites[site.name].blocks[0].diagonal()
            summed = single[name][site.name].sum((0, 1))
            means = diagonal.unflatten(0, (len(summed), -1)).mean(1)
            torch.testing.assert_close(summed, means, rtol=1e-4, atol=1e-9)
            torch.testing.assert_close(
                shared[name][site.name].sum((0, 1)), means.unflatten(0, (-1, 4)).mean(1), rtol=1e-4, atol=1e-9
            )


def test_each_token_has_its_own(model, scenes):
    plan = FactorPlan(1, seed=5, task_weights=(1.0, 0.0, 0.0))  # one draw: what is squared is one gradient
    found = find(model, scenes, 2, plan)
    plan = FactorPlan(1, seed=5, task_weights=(1.0, 0.0, 0.0), blocks=("F0", "G1"))
    for number, scene in enumerate(scenes):
        for name, gradients, _ in layer_gradients(model, [scene], plan):
            flat = gradients["fc1_in"].reshape(-1, gradients["fc1_in"].shape[-1])
            for half, columns in enumerate(flat.chunk(2, dim=1)):
                expected = columns.square().mean(1)
                torch.testing.assert_close(found[name]["fc1_in"][number, :, half], expected)
            assert found[name]["attn_in"].shape[-1] == 6  # q, k and v apart


def test_batches_change_nothing_but_rounding(model, scenes):
    one, three = find(model, scenes), find(model, scenes, batch_size=3)
    for name, sites in one.items():
        for site, squares in sites.items():
            torch.testing.assert_close(squares, three[name][site], rtol=1e-4, atol=1e-10)


def test_groups_that_do_not_divide_are_refused(model, scenes):
    with pytest.raises(FgqError, match="3 groups do not divide the 16 output channels of q in block"):
        find(model, scenes, 3)
    with pytest.raises(FgqError, match="0 groups"):
        find(model, scenes, 0)
