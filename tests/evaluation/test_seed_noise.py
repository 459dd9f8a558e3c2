"""The test of a gain: how often it is wrong when there is none, and how often it sees one."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from fgq.evaluation.statistics import flip_p_value, gain_test, smallest_visible

SCENES, TRIALS = 40, 800


def drawn(generator, seeds, of_seed, of_scene, of_rest, gain=0.0):
    """Gains of crossed seeds and scenes."""
    values = gain + generator.normal(0, of_rest, (seeds, SCENES)) + generator.normal(0, of_scene, (1, SCENES))
    return values + generator.normal(0, of_seed, (seeds, 1))


@pytest.mark.parametrize("seeds", [3, 6])
@pytest.mark.parametrize(
    "spread",
    [(0.3, 0.5, 0.2), (0.1, 0.5, 0.2), (0.3, 0.0, 0.2), (0.02, 1.0, 0.2)],
    ids=["both", "scenes", "seeds", "few"],
)
def test_without_a_gain_five_percent_are_called_one(seeds, spread):
    """Of seeds, of scenes, of the rest; nominal 5 %, better and worse together."""
    generator = np.random.default_rng(7)
    found = [gain_test(drawn(generator, seeds, *spread)).p_value < 0.05 for _ in range(TRIALS)]
    assert 0.02 <= np.mean(found) <= 0.08


@pytest.mark.parametrize("seeds", [2, 3])
def test_where_only_single_values_vary_it_is_wrong_less_often(seeds):
    generator = np.random.default_rng(8)
    found = [gain_test(drawn(generator, seeds, 0, 0, 0.2)).p_value < 0.05 for _ in range(TRIALS)]
    assert np.mean(found) <= 0.05


def test_a_clear_gain_is_found_and_one_within_seed_noise_is_not():
    generator = np.random.default_rng(9)
    clear = [gain_test(drawn(generator, 5, 0.1, 0.3, 0.2, gain=0.4)) for _ in range(200)]
    assert np.mean([found.exceeds for found in clear]) > 0.9
    drowned = [gain_test(drawn(generator, 5, 0.4, 0.3, 0.2, gain=0.1)) for _ in range(200)]
    assert np.mean([found.exceeds for found in drowned]) < 0.2
    worse = [gain_test(drawn(generator, 5, 0.1, 0.3, 0.2, gain=-0.4)) for _ in range(50)]
    assert not any(found.exceeds for found in worse) and np.mean([found.p_value < 0.05 for found in worse]) > 0.9


def test_seeds_that_agree_on_one_lucky_set_of_scenes_are_no_evidence():
    """All seeds show the same gain, which comes from a few scenes alone: scenes are drawn too."""
    generator = np.random.default_rng(10)
    gains = np.zeros((5, SCENES))
    gains[:, :2] = 1.0
    found = gain_test(gains + generator.normal(0, 1e-3, gains.shape))
    assert found.p_flips == 2 / 2**5 and stats.ttest_1samp(gains.mean(1) + 1e-6 * np.arange(5), 0).pvalue < 1e-4
    assert found.p_value > 0.05 and not found.exceeds


def test_flipped_signs_are_counted_as_by_hand():
    values = np.array([0.5, 0.2, -0.1, 0.4])
    patterns = [
        sum(s * v for s, v in zip(signs, values, strict=True)) for signs in itertools.product((1, -1), repeat=4)
    ]
    assert flip_p_value(values) == sum(abs(p) >= 1.0 - 1e-9 for p in patterns) / 16
    assert flip_p_value(np.ones(3)) == 2 / 8 and flip_p_value(np.zeros(3)) == 1
    generator = np.random.default_rng(11)
    rejected = np.mean([flip_p_value(generator.standard_t(2, 8)) < 0.05 for _ in range(2000)])
    assert rejected == pytest.approx(12 / 256, abs=0.015)  # with heavy tails too; 12 patterns are the most below 5 %


def test_one_seed_and_one_scene_say_nothing_and_no_noise_says_all():
    one = gain_test(np.random.default_rng(0).normal(5, 0.1, (1, 20)))
    assert math.isnan(one.p_value) and math.isnan(one.seed_spread) and not one.exceeds and one.p_flips == 1
    assert math.isnan(gain_test(np.ones((4, 1))).p_value)
    sure, nothing = gain_test(np.full((3, 5), 0.25)), gain_test(np.zeros((3, 5)))
    assert sure.exceeds and sure.p_value == 0 and not nothing.exceeds and nothing.p_value == 1
    assert math.isnan(gain_test(np.full((3, 5), np.nan)).p_flips)


def test_the_smallest_visible_difference_is_where_the_t_test_gives_five_percent():
    generator = np.random.default_rng(0)
    common = generator.normal(0, 1, 5)
    base, values = common + generator.normal(0, 0.2, 5), common + generator.normal(0, 0.2, 5)
    paired, apart = smallest_visible(values, base, [5]).loc[5]
    moved = values - values.mean() + base.mean()
    assert np.isclose(stats.ttest_rel(moved + paired, base).pvalue, 0.05)
    assert np.isclose(stats.ttest_ind(moved + apart, base).pvalue, 0.05)
    assert paired < apart  # what seeds have in common is gone
