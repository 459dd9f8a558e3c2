"""How well predicted damage follows measured damage, with intervals."""

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats

from fgq.errors import FgqError
from fgq.evaluation.intervals import LEVEL, RESAMPLES

Values = Float[np.ndarray, "*samples parts"]


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
        raise FgqError(
            f"a correlation needs as many predicted as measured values, at least three; got {list(predicted.shape)} "
            f"and {list(measured.shape)}"
        )
    if not (np.isfinite(predicted).all() and np.isfinite(measured).all()):
        raise FgqError("predicted and measured damage must be finite")
    rows = []
    for name, coefficient in COEFFICIENTS.items():
        low = high = np.nan
        if np.ptp(predicted) and np.ptp(measured):
            low, high = stats.bootstrap(
                (predicted, measured),
                coefficient,
                paired=True,
                vectorized=True,
                n_resamples=RESAMPLES,
                confidence_level=LEVEL,
                method="BCa",
                rng=np.random.default_rng(seed),
            ).confidence_interval
        rows.append((name, float(coefficient(predicted, measured)), float(low), float(high)))
    return pd.DataFrame(rows, columns=["coefficient", "value", "low", "high"])
