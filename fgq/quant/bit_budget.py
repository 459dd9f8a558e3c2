"""Who gets how many bits: the least predicted damage within a budget of bytes or of bit-operations, solved exactly."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from fgq.errors import FgqError

SLACK = 1e-9  # of a budget, for sums of floats that meet it exactly


class LayerBits(NamedTuple):
    """Bits of a layer's weights, and of the patches and the special tokens that it reads."""

    weight: int
    patch: int
    special: int


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
    check_damage(damage, (len(sizes), len(bits)), "blocks, choices of bits")
    check_budget("average_bits", average_bits, bits.min(), "the fewest bits")
    costs = [(share * bits)[:, None] for share in sizes / sizes.sum()]
    chosen, gap = choose(list(damage), costs, [average_bits])
    return [int(bits[choice]) for choice in chosen], gap


def allocate_operations(
    damage: np.ndarray,
    sizes: Sequence[int],
    special_share: float,
    bits: Sequence[int],
    operations: float,
    average_bits: float | None = None,
) -> tuple[list[LayerBits], float]:
    """Bits of every layer's weights, patches and special tokens, and the relative gap as of `allocate_bits`.

    `damage[layer, part, choice]` is that of one part (weights, patches, special tokens) of a layer alone at
    `bits[choice]`, and damages add up. A layer of n weights does n multiplications for every token, of which
    `special_share` are special ones, so its cost is n · weight bits · mean activation bits; the sum stays within
    `operations` · Σ n, in bit-operations a multiplication (W4A4 has 16), and with `average_bits` the weights' own bits
    stay within average_bits · Σ n too. Damages add up over parts, costs multiply: a choice is one of all three at once.
    Raises FgqError as `allocate_bits`.
    """
    damage, sizes, bits = np.asarray(damage, float), np.asarray(sizes, float), np.asarray(bits, float)
    check_damage(damage, (len(sizes), len(LayerBits._fields), len(bits)), "layers, parts, choices of bits")
    check_budget("operations", operations, bits.min() ** 2, "the fewest bits squared")
    limits = [operations]
    if average_bits is not None:
        check_budget("average_bits", average_bits, bits.min(), "the fewest bits")
        limits.append(average_bits)
    triples = np.stack(np.meshgrid(bits, bits, bits, indexing="ij"), -1).reshape(-1, 3)
    weight, patch, special = triples.T
    cost = np.stack([weight * (patch * (1 - special_share) + special * special_share), weight], 1)[:, : len(limits)]
    damages, costs, kept = [], [], []
    for layer, share in zip(damage, sizes / sizes.sum(), strict=True):
        whole = (layer[0][:, None, None] + layer[1][None, :, None] + layer[2][None, None, :]).ravel()
        best = undominated(whole, cost)
        damages.append(whole[best])
        costs.append(share * cost[best])
        kept.append(triples[best])
    chosen, gap = choose(damages, costs, limits)
    return [LayerBits(*map(int, of[choice])) for of, choice in zip(kept, chosen, strict=True)], gap


def undominated(damage: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Indices of the choices that no other one equals or beats in damage and in every cost; of equal ones the first."""
    all_of = np.column_stack([damage, cost])
    order = np.lexsort(all_of.T[::-1])  # whatever beats a choice comes before it
    kept: list[int] = []
    for choice in order:
        if not any((all_of[other] <= all_of[choice]).all() for other in kept):
            kept.append(int(choice))
    return np.sort(kept)


def choose(
    damages: Sequence[np.ndarray], costs: Sequence[np.ndarray], limits: Sequence[float]
) -> tuple[list[int], float]:
    """One choice of every item, so that damages sum to the least and no cost to more than its limit; and the gap.

    `damages[item][choice]` and `costs[item][choice, budget]`.
    """
    counts = [len(damage) for damage in damages]
    everything = np.concatenate(damages)
    item = np.repeat(np.arange(len(counts)), counts)
    one_each = csr_array((np.ones(len(item)), (item, np.arange(len(item)))))
    within = LinearConstraint(np.concatenate(costs).T, ub=np.asarray(limits) + SLACK)
    scale = everything.max() or 1.0  # tasks differ in units; the solver's tolerances do not
    found = milp(
        everything / scale,
        integrality=np.ones(len(everything)),
        bounds=Bounds(0, 1),
        constraints=[LinearConstraint(one_each, 1, 1), within],
        options={"mip_rel_gap": 0.0},
    )
    if found.x is None:
        raise FgqError(f"no allocation was found within {', '.join(f'{limit:g}' for limit in limits)}: {found.message}")
    chosen = [int(part.argmax()) for part in np.split(found.x, np.cumsum(counts)[:-1])]
    return chosen, float(found.mip_gap or 0.0)


def check_damage(damage: np.ndarray, shape: tuple[int, ...], axes: str) -> None:
    if damage.shape != shape:
        raise FgqError(f"damage is {list(damage.shape)}; expected {list(shape)} [{axes}]")
    if not np.isfinite(damage).all() or (damage < 0).any():
        raise FgqError("damage must be finite and not negative: estimate it again")


def check_budget(name: str, budget: float, least: float, what: str) -> None:
    if not budget >= least:
        raise FgqError(f"{name} is {budget}, below {what} to choose from, {least:g}")
