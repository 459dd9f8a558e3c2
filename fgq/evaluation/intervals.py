"""95 % intervals by the bootstrap: over scenes, and over seeds and scenes together."""

import math

import numpy as np
from jaxtyping import Float
from scipy import stats

LEVEL = 0.95
RESAMPLES = 2000


def bootstrap_means(values: Float[np.ndarray, "seeds scenes"], seed: int = 0) -> Float[np.ndarray, " resamples"]:
    """Means of resampled seeds and, independently, resampled scenes, each drawn with replacement.

    One row is the plain bootstrap over scenes. With several, a scene resampled is resampled for all seeds: what makes
    a scene hard is common to them, and so is what makes a seed lucky to all scenes (a crossed design).
    """
    generator = np.random.default_rng(seed)
    seeds, scenes = values.shape
    scene_counts = generator.multinomial(scenes, np.full(scenes, 1 / scenes), size=RESAMPLES) / scenes
    seed_counts = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=RESAMPLES) / seeds
    return np.einsum("rs,sn,rn->r", seed_counts, values, scene_counts, optimize=True)


def mean_interval(values: Float[np.ndarray, "seeds scenes"], seed: int = 0) -> tuple[float, float, float]:
    """Mean with the lower and upper end of its 95 % interval; the ends are NaN for fewer than two scenes.

    The bootstrap's percentiles keep their lopsidedness, but are stretched about the mean to the width that the
    variance of the mean and its degrees of freedom ask for. Unstretched, three seeds that differ more than scenes do
    would give an interval that holds the truth four times in five: resampling three values cannot show how wrong
    three values can be.
    """
    mean = float(values.mean())
    if values.shape[1] < 2:
        return mean, math.nan, math.nan  # one scene says nothing about the next
    means = bootstrap_means(values, seed)
    error, freedom = standard_error(values)
    spread = float(means.std())
    tail = (1 + LEVEL) / 2
    stretch = stats.t.ppf(tail, freedom) * error / (stats.norm.ppf(tail) * spread) if spread > 0 else 1.0
    low, high = mean + stretch * (np.quantile(means, [1 - tail, tail]) - mean)
    return mean, float(low), float(high)


def standard_error(values: Float[np.ndarray, "seeds scenes"]) -> tuple[float, float]:
    """Standard error of the mean over random seeds and random scenes, and its degrees of freedom.

    Two-way random effects without repetition; degrees of freedom by Satterthwaite (Biometrics Bulletin 2(6), 1946).
    """
    seeds, scenes = values.shape
    of_scenes = seeds * values.mean(0).var(ddof=1)
    if seeds == 1:
        return math.sqrt(of_scenes / scenes), scenes - 1
    of_seeds = scenes * values.mean(1).var(ddof=1)
    rest = values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()
    of_rest = np.square(rest).sum() / ((seeds - 1) * (scenes - 1))
    # The rest is in both of the others; chance can make it the largest, the mean is then no better known than by one.
    total = max(of_seeds + of_scenes - of_rest, of_seeds, of_scenes)
    doubt = of_seeds**2 / (seeds - 1) + of_scenes**2 / (scenes - 1) + of_rest**2 / ((seeds - 1) * (scenes - 1))
    return math.sqrt(total / values.size), total**2 / doubt if doubt > 0 else seeds - 1
