from itertools import product

import numpy as np
import pytest

from fgq.errors import FgqError
from fgq.quant.bit_budget import allocate_bits

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


def test_bad_input_is_named():
    with pytest.raises(FgqError, match="below the fewest"):
        allocate_bits(np.ones((2, 4)), [1, 1], BITS, 1.5)
    with pytest.raises(FgqError, match="finite"):
        allocate_bits(np.full((2, 4), np.nan), [1, 1], BITS, 4)
    with pytest.raises(FgqError, match="expected"):
        allocate_bits(np.ones((3, 4)), [1, 1], BITS, 4)
