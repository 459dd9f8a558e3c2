"""95 % intervals by the bootstrap: over scenes, and over seeds and scenes together."""

import numpy as np
from jaxtyping import Float

LEVEL = 0.95
RESAMPLES = 2000


def bootstrap_means(values: Float[np.ndarray, "seeds scenes"], seed: int = 0) -> Float[np.ndarray, "resamples"]:
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
    """Mean with the lower and upper end of its 95 % percentile interval."""
    means = bootstrap_means(values, seed)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(values.mean()), float(low), float(high)
