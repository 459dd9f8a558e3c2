from itertools import product

import numpy as np
import pytest

from fgq.errors import FgqError
from fgq.quant.bit_budget import allocate_bits, allocate_operations, undominated

BITS = (2, 3, 4, 8)


@pytest.mark.parametrize("seed", range(5))
def test_the_allocation_is_the_best_of_all(seed):
    draw = np.random.default_rng(seed)
    damage = draw.lognormal(size=(5, 1)) * draw.lognormal(size=(5, 4))
    sizes, budget = draw.integers(10, 90, 5).tolist(), 3.7
    every = list(product(range(4), repeat=5))
    fits = [c for c in every if sum(s * BITS[i] for s, i in zip(sizes, c, strict=True)) <= budget * sum(sizes)]
    best = min(sum(damage[b, i] for b, i in enumerate(choice)) for choice in fits)
    chosen, gap = allocate_bits(damage, sizes, BITS, budget)
    assert np.dot(sizes, chosen) <= budget * sum(sizes) + 1e-6
    assert sum(damage[b, BITS.index(n)] for b, n in enumerate(chosen)) == pytest.approx(best, rel=1e-6)
    assert gap == 0


def draw_parts(seed, layers, choices):
    draw = np.random.default_rng(seed)
    damage = np.sort(draw.lognormal(sigma=2, size=(layers, 3, choices)), -1)[..., ::-1]
    return damage, draw.integers(10, 90, layers).tolist(), draw.uniform(0, 0.3)


@pytest.mark.parametrize("average_bits", [None, 3.2])
@pytest.mark.parametrize("seed", range(5))
def test_weights_patches_and_special_tokens_share_one_budget_in_the_best_way(seed, average_bits):
    """Against every combination of three bits for three layers."""
    bits, budget = (2, 4, 8), 14.0
    damage, sizes, share = draw_parts(seed, 3, 3)

    def costs(deal):
        operations = sum(n * w * ((1 - share) * p + share * s) for n, (w, p, s) in zip(sizes, deal, strict=True))
        return operations / sum(sizes), sum(n * w for n, (w, _, _) in zip(sizes, deal, strict=True)) / sum(sizes)

    def total(deal):
        return sum(damage[layer, part, bits.index(b)] for layer, own in enumerate(deal) for part, b in enumerate(own))

    def fits(deal):
        operations, weights = costs(deal)
        return operations <= budget + 1e-6 and (average_bits is None or weights <= average_bits + 1e-6)

    best = min(filter(fits, product(product(bits, repeat=3), repeat=3)), key=total)
    chosen, gap = allocate_operations(damage, sizes, share, bits, budget, average_bits)
    assert fits(chosen) and total(chosen) == pytest.approx(total(best), rel=1e-6) and gap == 0


def test_two_hundred_layers_are_dealt_exactly():
    """As many as VGGT-1B's aggregator has; more budget never damages more, and a cheap kind of token gets most bits."""
    bits = (2, 3, 4, 6, 8)
    damage, sizes, _ = draw_parts(0, 192, 5)
    totals = []
    for budget in (6.0, 16.0, 30.0):
        chosen, gap = allocate_operations(damage, sizes, 5 / 1041, bits, budget)
        assert gap == 0
        rows = [[damage[n, part, bits.index(b)] for part, b in enumerate(own)] for n, own in enumerate(chosen)]
        totals.append(np.sum(rows))
    assert totals[0] > totals[1] > totals[2]
    mean = np.average(chosen, axis=0)
    assert mean[2] > mean[1]


def test_only_choices_that_another_beats_are_left_out():
    draw = np.random.default_rng(0)
    damage, cost = draw.integers(0, 6, 60).astype(float), draw.integers(0, 6, (60, 2)).astype(float)
    rows = [tuple(row) for row in np.column_stack([damage, cost])]

    def beaten(n):
        others = [
            (m, row) for m, row in enumerate(rows) if m != n and all(a <= b for a, b in zip(row, rows[n], strict=True))
        ]
        return any(row != rows[n] or m < n for m, row in others)

    assert undominated(damage, cost).tolist() == [n for n in range(60) if not beaten(n)]


def test_bad_input_is_named():
    with pytest.raises(FgqError, match=r"operations is 3.9, below the fewest bits squared to choose from, 4"):
        allocate_operations(np.ones((2, 3, 4)), [1, 1], 0.1, BITS, 3.9)
    with pytest.raises(FgqError, match="average_bits is nan, below the fewest bits"):
        allocate_operations(np.ones((2, 3, 4)), [1, 1], 0.1, BITS, 16, float("nan"))
    with pytest.raises(FgqError, match="expected .*layers, parts"):
        allocate_operations(np.ones((2, 4)), [1, 1], 0.1, BITS, 16)
    with pytest.raises(FgqError, match="below the fewest"):
        allocate_bits(np.ones((2, 4)), [1, 1], BITS, 1.5)
    with pytest.raises(FgqError, match="finite"):
        allocate_bits(np.full((2, 4), np.nan), [1, 1], BITS, 4)
    with pytest.raises(FgqError, match="expected"):
        allocate_bits(np.ones((3, 4)), [1, 1], BITS, 4)
