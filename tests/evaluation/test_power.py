import numpy as np
import pytest
from scipy import stats

from fgq.errors import FgqError
from fgq.evaluation.power import power_of, seeds_needed, smallest_detectable


@pytest.mark.parametrize("seeds, change, spread", [(3, 0.3, 0.1), (5, -0.2, 0.15), (10, 0.1, 0.15)])
def test_power_is_the_share_of_simulated_experiments_that_find_the_change(seeds, change, spread):
    values = np.random.default_rng(0).normal(np.log1p(change), spread, (20_000, seeds))
    share = (stats.ttest_1samp(values, 0.0, axis=1).pvalue < 0.05).mean()
    assert power_of(change, spread, seeds) == pytest.approx(share, abs=0.012)


def test_a_textbook_s_number_of_pairs():
    """Half a standard deviation, two-sided 5 %, 80 %: 34 pairs (Cohen, Statistical Power Analysis, 1988)."""
    assert seeds_needed(np.expm1(0.5), 1.0) == 34


def test_what_is_just_detectable_has_the_power_asked_for():
    for seeds, comparisons in ((3, 1), (5, 4), (20, 16)):
        change = smallest_detectable(0.1, seeds, comparisons)
        assert power_of(change, 0.1, seeds, comparisons) == pytest.approx(0.8, abs=1e-6)
        assert power_of(1 / (1 + change) - 1, 0.1, seeds, comparisons) == pytest.approx(0.8, abs=1e-6)
        assert seeds_needed(change * 1.001, 0.1, comparisons) == seeds


def test_more_comparisons_and_fewer_seeds_find_less():
    assert power_of(0.2, 0.1, 5) > power_of(0.2, 0.1, 5, comparisons=4) > power_of(0.2, 0.1, 4, comparisons=4)
    assert power_of(0.0, 0.1, 5) == pytest.approx(0.05)


@pytest.mark.parametrize("arguments", [(0.1, 0.1, 1), (0.1, 0.0, 5), (-1.0, 0.1, 5), (0.1, 0.1, 5, 0)])
def test_what_has_no_power_is_refused(arguments):
    with pytest.raises(FgqError):
        power_of(*arguments)


def test_what_no_number_of_seeds_finds_is_refused(monkeypatch):
    monkeypatch.setattr("fgq.evaluation.power.MOST_SEEDS", 50)
    with pytest.raises(FgqError, match="not found with 50 seeds"):
        seeds_needed(1e-3, 1.0)
