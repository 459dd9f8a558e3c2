"""What numbers of seeds, scenes and parts allow to say: 95 % intervals, gains beyond the noise, correlations."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats

from fgq.errors import FgqError

LEVEL = 0.95
RESAMPLES = 2000
SIGNIFICANCE = 0.05
MOST_FLIPPED = 16  # seeds whose 2^16 sign patterns are all counted; of more, the first of them are
Values = Float[np.ndarray, "*samples parts"]


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
    """Mean with the lower and upper end of its 95 % interval; the ends are NaN for fewer than two scenes, all for NaN.

    The bootstrap's percentiles keep their lopsidedness, but are stretched about the mean to the width that the
    variance of the mean and its degrees of freedom ask for. Unstretched, three seeds that differ more than scenes do
    would give an interval that holds the truth four times in five: resampling three values cannot show how wrong
    three values can be.
    """
    mean = float(values.mean())
    if values.shape[1] < 2 or math.isnan(mean):
        return mean, math.nan, math.nan  # one scene says nothing about the next
    means, tail = bootstrap_means(values, seed), (1 + LEVEL) / 2
    error, freedom = standard_error(values)
    spread = float(means.std())
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
    (seeds, scenes), mean, of_seeds = gains.shape, float(gains.mean()), gains.mean(1)
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


def pearson(x: Values, y: Values, axis: int = -1) -> np.ndarray:
    """Pearson's r along an axis; 0 where one side does not vary, as nothing follows from it there."""
    x, y = x - x.mean(axis, keepdims=True), y - y.mean(axis, keepdims=True)
    size = np.sqrt((x * x).sum(axis) * (y * y).sum(axis))
    return np.divide((x * y).sum(axis), size, out=np.zeros_like(size), where=size > 0)


def spearman(x: Values, y: Values, axis: int = -1) -> np.ndarray:
    return pearson(stats.rankdata(x, axis=axis), stats.rankdata(y, axis=axis), axis)


COEFFICIENTS = {"pearson": pearson, "spearman": spearman}


def correlate(predicted: np.ndarray, measured: np.ndarray, seed: int = 0) -> pd.DataFrame:
    """Pearson's and Spearman's coefficient over parts [parts], a row each: coefficient, value, low, high.

    The 95 % intervals are bootstrapped over parts (bias-corrected and accelerated: Efron, JASA 82(397), 1987).
    Where one side does not vary the coefficients are 0 and the ends NaN.
    Raises FgqError for fewer than three parts, another number on either side, and values that are not finite.
    """
    if predicted.shape != measured.shape or len(predicted) < 3:
        given = f"{list(predicted.shape)} and {list(measured.shape)}"
        raise FgqError(f"a correlation needs as many predicted as measured values, at least three; got {given}")
    if not (np.isfinite(predicted).all() and np.isfinite(measured).all()):
        raise FgqError("predicted and measured damage must be finite")
    rows = []
    for name, coefficient in COEFFICIENTS.items():
        low = high = np.nan
        if np.ptp(predicted) and np.ptp(measured):
            options = {"paired": True, "vectorized": True, "n_resamples": RESAMPLES, "confidence_level": LEVEL}
            options |= {"method": "BCa", "rng": np.random.default_rng(seed)}
            low, high = stats.bootstrap((predicted, measured), coefficient, **options).confidence_interval
        rows.append((name, float(coefficient(predicted, measured)), float(low), float(high)))
    return pd.DataFrame(rows, columns=["coefficient", "value", "low", "high"])
