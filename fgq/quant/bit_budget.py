"""Which block gets how many bits: the least predicted damage within a budget, solved exactly."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from fgq.errors import FgqError


def allocate_bits(
    damage: np.ndarray, sizes: Sequence[int], bits: Sequence[int], average_bits: float
) -> tuple[list[int], float]:
    """Bits of each block, and the relative gap to the optimum that the solver proved (0: exact).

    `damage[block, choice]` is the damage of a block at `bits[choice]`, and damages add up; `sizes` counts each block's
    weights; Σ sizes · chosen bits stays within average_bits · Σ sizes. A multiple-choice knapsack, solved by HiGHS.
    Raises FgqError for shapes that do not fit, damage that is negative or not finite, and a budget below the
    fewest bits.
    """
    damage, sizes, bits = np.asarray(damage, float), np.asarray(sizes, float), np.asarray(bits, float)
    if damage.shape != (len(sizes), len(bits)):
        raise FgqError(f"damage is {list(damage.shape)}; expected [{len(sizes)} blocks, {len(bits)} choices of bits]")
    if not np.isfinite(damage).all() or (damage < 0).any():
        raise FgqError("damage must be finite and not negative: estimate it again")
    if average_bits < bits.min():
        raise FgqError(f"average_bits is {average_bits}, below the fewest bits to choose from, {bits.min():g}")
    blocks, choices = damage.shape
    one_each = LinearConstraint(np.kron(np.eye(blocks), np.ones(choices)), 1, 1)
    within = LinearConstraint(np.kron(sizes / sizes.sum(), bits)[None], ub=average_bits + 1e-9)
    scale = damage.max() or 1.0  # tasks differ in units; the solver's tolerances do not
    found = milp(
        damage.ravel() / scale,
        integrality=np.ones(damage.size),
        bounds=Bounds(0, 1),
        constraints=[one_each, within],
        options={"mip_rel_gap": 0.0},
    )
    if found.x is None:
        raise FgqError(f"no allocation was found for average_bits {average_bits}: {found.message}")
    chosen = found.x.reshape(blocks, choices).argmax(1)
    return [int(bits[choice]) for choice in chosen], float(found.mip_gap or 0.0)
