"""Is a gain larger than what another calibration seed would change? A test over seeds and scenes."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats

from fgq.evaluation.intervals import standard_error

SIGNIFICANCE = 0.05
MOST_FLIPPED = 16  # seeds whose 2^16 sign patterns are all counted; of more, the first of them are


@dataclass(frozen=True)
class GainTest:
    """What the paired gains of S seeds and N scenes allow to say; p-values are two-sided."""

    gain: float  # mean, positive for better
    seed_spread: float  # standard deviation over seeds of the gain that each shows; NaN for one seed
    p_value: float  # of the test over seeds and scenes; NaN for one seed or one scene
    p_flips: float  # of the exact test over seeds that flips signs
    exceeds: bool  # better, and p_value below 5 %
    seeds: int
    scenes: int


def gain_test(gains: Float[np.ndarray, "seeds scenes"]) -> GainTest:
    """Tests gains paired by seed and by scene against zero.

    `p_value` is the larger of two, so that a gain must stand out from both noises. One is Student's t of the mean over
    random seeds and random scenes (crossed random effects, degrees of freedom by Satterthwaite, as in the intervals):
    it knows that a scene's luck is common to all seeds. The other is Student's t of the seeds' own mean gains, with
    S - 1 degrees of freedom: with two or three seeds Satterthwaite's degrees are themselves a guess, which alone would
    reject one true zero in eight. Resampling three seeds is no way out, because a bootstrap of three values is too
    narrow by a third. Under true zeros with noise of seeds or scenes the test rejects 2 to 7 % where 5 % are nominal,
    and less where nothing but single values vary.

    `p_flips` assumes no distribution: without a gain on these scenes each seed's mean gain may as well have the other
    sign, so it counts how many of the 2^S patterns of signs give a mean at least as far from zero. It cannot be below
    2 / 2^S: fewer than six seeds can never reach 5 %, whatever they show.
    """
    seeds, scenes = gains.shape
    mean = float(gains.mean())
    of_seeds = gains.mean(1)
    if seeds < 2 or scenes < 2 or np.isnan(gains).any():
        return GainTest(mean, math.nan, math.nan, flip_p_value(of_seeds), False, seeds, scenes)
    error, freedom = standard_error(gains)
    spread = float(of_seeds.std(ddof=1))
    p_value = max(t_p_value(mean, error, freedom), t_p_value(mean, spread / math.sqrt(seeds), seeds - 1))
    found = mean > 0 and p_value < SIGNIFICANCE
    return GainTest(mean, spread, p_value, flip_p_value(of_seeds), found, seeds, scenes)


def smallest_visible(values: np.ndarray, base: np.ndarray, seeds: Sequence[int]) -> pd.DataFrame:
    """The difference that a 95 % interval over so many seeds would separate from zero, paired by seed and not.

    `values` and `base` are the means over scenes of two recipes at the same seeds. In their unit: Student's quantile
    times the standard error, with the spreads found here. Index: number of seeds, from 2.
    """
    paired = np.std(np.subtract(values, base), ddof=1)
    apart = np.hypot(np.std(values, ddof=1), np.std(base, ddof=1))
    rows = {
        n: (stats.t.ppf(0.975, n - 1) * paired / n**0.5, stats.t.ppf(0.975, 2 * n - 2) * apart / n**0.5) for n in seeds
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=["paired", "unpaired"])


def t_p_value(mean: float, error: float, freedom: float) -> float:
    """Two-sided; without any spread, 0 for a mean that is not zero."""
    if error == 0:
        return 1.0 if mean == 0 else 0.0
    return float(2 * stats.t.sf(abs(mean) / error, freedom))


def flip_p_value(values: Float[np.ndarray, " seeds"]) -> float:
    """Share of all patterns of signs under which the mean is at least as far from zero as it is; NaN for NaN."""
    if np.isnan(values).any():
        return math.nan
    values = values[:MOST_FLIPPED]
    signs = np.array(list(itertools.product((1, -1), repeat=len(values))))
    sums = np.abs(signs @ values)
    return float((sums >= abs(values.sum()) * (1 - 1e-12)).mean())
