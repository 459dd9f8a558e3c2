import numpy as np
import pytest

from fgq.evaluation.statistics import bootstrap_means, mean_interval, standard_error


@pytest.mark.parametrize("seeds", [1, 2, 3, 8])
@pytest.mark.parametrize("spread", [(0.3, 0.5, 0.2), (0.02, 1.0, 0.2), (0.0, 0.0, 0.2)])
def test_interval_covers_the_truth_about_as_often_as_it_says(seeds, spread):
    """Spread over seeds, over scenes, and of the rest. One seed cannot show how seeds spread, so there it is zero."""
    generator = np.random.default_rng(1)
    of_seed, of_scene, of_rest = spread
    if seeds == 1:
        of_seed = 0.0
    hits, trials = 0, 150
    for trial in range(trials):
        values = 1.0 + generator.normal(0, of_rest, (seeds, 40)) + generator.normal(0, of_scene, (1, 40))
        values += generator.normal(0, of_seed, (seeds, 1))
        _, low, high = mean_interval(values, seed=trial)
        hits += low < 1.0 < high
    assert 0.90 <= hits / trials


def test_bootstrap_over_scenes_has_the_standard_error_of_the_mean():
    values = np.random.default_rng(2).normal(0, 1, (1, 400))
    assert bootstrap_means(values).std() == pytest.approx(values.std() / 20, rel=0.1)
    mean, low, high = mean_interval(values)
    assert mean == values.mean()
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.1)  # with many scenes, as in textbooks


def test_standard_error_is_the_spread_of_the_mean():
    generator = np.random.default_rng(3)
    means, errors = [], []
    for _ in range(400):
        values = (
            generator.normal(0, 0.2, (4, 30)) + generator.normal(0, 0.5, (1, 30)) + generator.normal(0, 0.3, (4, 1))
        )
        means.append(values.mean())
        errors.append(standard_error(values)[0])
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(means), rel=0.1)


def test_interval_of_a_lopsided_sample_is_lopsided():
    values = np.random.default_rng(4).exponential(1, (1, 25)) ** 2
    mean, low, high = mean_interval(values)
    assert high - mean > 1.15 * (mean - low)


def test_same_seed_same_interval_and_no_spread_no_width():
    values = np.random.default_rng(5).normal(0, 1, (3, 20))
    assert mean_interval(values, 7) == mean_interval(values, 7) != mean_interval(values, 8)
    assert mean_interval(np.full((3, 20), 2.5)) == (2.5, 2.5, 2.5)
    assert np.isnan(mean_interval(np.ones((3, 1)))[1])
