import math

import torch

from fgq.quant import FixedClip, LearnableClip, clip_range, clip_weight


def test_learnable_clips_start_at_almost_the_whole_range():
    factors = LearnableClip(3).factors()
    assert factors.shape == (3, 2)
    assert torch.allclose(factors, torch.full((3, 2), 1 / (1 + math.exp(-4))))


def test_freezing_keeps_the_factors_and_nothing_to_learn():
    clip = LearnableClip(2)
    fixed = clip.freeze()
    with torch.no_grad():
        clip.logits.zero_()
    assert torch.allclose(fixed.factors(), torch.full((2, 2), 1 / (1 + math.exp(-4))))
    assert isinstance(fixed, FixedClip) and not list(fixed.parameters())


def test_a_weight_is_limited_row_by_row():
    weight = torch.tensor([[-4.0, 1.0, 2.0], [1.0, 3.0, 5.0]])
    factors = torch.tensor([[0.5, 0.75], [1.0, 0.5]])
    assert torch.equal(clip_weight(weight, factors), torch.tensor([[-2.0, 1.0, 1.5], [1.0, 2.5, 2.5]]))


def test_each_pair_of_factors_gives_its_own_range():
    low, high = -torch.tensor([[1.0], [2.0]]), torch.tensor([[4.0], [8.0]])
    lows, highs = clip_range(low, high, torch.tensor([[1.0, 0.5], [0.5, 0.25]]))
    assert lows.flatten(1).tolist() == [[-1.0, -2.0], [-0.5, -1.0]]
    assert highs.flatten(1).tolist() == [[2.0, 4.0], [1.0, 2.0]]
