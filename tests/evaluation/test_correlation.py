import numpy as np
import pytest
from scipy import stats

from fgq.errors import FgqError
from fgq.evaluation.statistics import correlate


def test_coefficients_are_scipys():
    generator = np.random.default_rng(1)
    x = generator.normal(size=20)
    y = x**3 + generator.normal(size=20)
    found = correlate(x, y).set_index("coefficient")
    assert found.value["pearson"] == pytest.approx(stats.pearsonr(x, y).statistic)
    assert found.value["spearman"] == pytest.approx(stats.spearmanr(x, y).statistic)
    assert (found.low < found.value).all() and (found.value < found.high).all()


def test_intervals_hold_the_truth_nearly_as_often_as_they_say():
    generator = np.random.default_rng(2)
    held = 0
    for trial in range(100):
        pairs = generator.multivariate_normal([0, 0], [[1, 0.7], [0.7, 1]], size=40)
        row = correlate(*pairs.T, seed=trial).iloc[0]
        held += row.low <= 0.7 <= row.high
    assert 86 <= held <= 100


def test_what_has_no_correlation_is_defined_or_refused():
    flat = correlate(np.ones(5), np.arange(5.0))
    assert (flat.value == 0).all() and flat.low.isna().all()
    with pytest.raises(FgqError, match="at least three"):
        correlate(np.array([1.0, 2.0]), np.array([1.0, 2.0]))
    with pytest.raises(FgqError, match="at least three"):
        correlate(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0]))
    with pytest.raises(FgqError, match="finite"):
        correlate(np.array([1.0, 2.0, np.nan]), np.array([1.0, 2.0, 3.0]))
