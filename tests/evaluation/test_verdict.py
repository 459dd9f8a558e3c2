import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fgq.errors import FgqError
from fgq.evaluation import Report
from fgq.evaluation.report import COLUMNS
from fgq.evaluation.verdict import holm, ratio_of, tell, verdicts

METRICS = {"deviation_depth": False, "deviation_points": False, "pose_auc@30": True}


def report(recipe, values, metrics=METRICS):
    """Of values [seeds, scenes] by metric."""
    rows = [
        dict.fromkeys(COLUMNS, "")
        | {"recipe": recipe, "weight_bits": 4, "activation_bits": 8, "seed": seed, "dataset": "d", "scene": f"s{scene}"}
        | {"metric": metric, "value": float(value), "higher_is_better": metrics[metric], "valid_pixels": 1}
        for metric, table in values.items()
        for (seed, scene), value in np.ndenumerate(table)
    ]
    return Report(pd.DataFrame(rows))


def noisy(generator, factor=1.0, seeds=5, scenes=40, noise=0.02):
    """Values whose ratio to the base's is `factor` up to noise of seeds and single values; and the base's."""
    base = np.exp(generator.normal(0, 0.5, (1, scenes)) + generator.normal(0, noise, (seeds, scenes)))
    own = generator.normal(0, noise, (seeds, 1)) + generator.normal(0, noise, (seeds, scenes))
    return factor * base * np.exp(own), base


def judged(factor, metric="deviation_depth", within=0.05, **options):
    mine, base = noisy(np.random.default_rng(0), factor, **options)
    return verdicts(report("a", {metric: mine}), report("b", {metric: base}), within=within).iloc[0]


@pytest.mark.parametrize(
    "factor, metric, words",
    [
        (0.6, "deviation_depth", "better"),
        (1.5, "deviation_depth", "worse"),
        (1.5, "pose_auc@30", "better"),
        (0.6, "pose_auc@30", "worse"),
    ],
)
def test_a_large_effect_has_the_direction_of_its_metric(factor, metric, words):
    found = judged(factor, metric)
    assert found.verdict == words
    assert found.low < factor - 1 < found.high
    assert found.change == pytest.approx(factor - 1, abs=0.05)


def test_no_effect_is_equivalent_only_where_the_noise_allows_to_say_so():
    assert judged(1.0).verdict == "equivalent within 5 %"
    assert judged(1.0, noise=0.2).verdict == "not decided"
    assert judged(1.0, noise=0.2, within=1.0).verdict == "equivalent within 100 %"
    assert judged(0.96, noise=0.002).verdict == "better, yet equivalent within 5 %"


def test_one_seed_says_nothing_of_other_seeds():
    assert judged(0.6, seeds=1).verdict == "better (of one seed)"


def test_bounds_and_changes_are_alike_in_both_directions():
    generator = np.random.default_rng(1)
    mine, base = noisy(generator, 0.8)
    there = ratio_of(mine, base)
    back = ratio_of(base, mine)
    assert there.mean == pytest.approx(-back.mean, abs=1e-12)
    assert there.interval() == pytest.approx([-end for end in back.interval()[::-1]], abs=1e-12)
    assert there.p_above(-0.1) == pytest.approx(back.p_below(0.1), abs=1e-12)


def test_without_noise_of_scenes_the_tests_are_student_s_of_the_seeds_log_ratios():
    generator = np.random.default_rng(2)
    base = np.exp(generator.normal(0, 0.5, (1, 30)))
    factors = np.exp(generator.normal(-0.1, 0.1, 6))
    ratio = ratio_of(factors[:, None] * base, base)
    found = stats.ttest_1samp(np.log(factors), 0.0)
    assert ratio.interval() == pytest.approx(found.confidence_interval(0.95))
    assert 2 * ratio.p_below(0.0) == pytest.approx(found.pvalue)
    above = stats.ttest_1samp(np.log(factors), -0.25, alternative="greater").pvalue
    assert ratio.p_above(-0.25) == pytest.approx(above)


@pytest.mark.parametrize("seeds", [3, 5])
def test_intervals_hold_the_truth_about_as_often_as_they_say(seeds):
    """300 experiments each; a share of 0.95 has a standard error of 0.013."""
    generator, inside = np.random.default_rng(3), 0
    for _ in range(300):
        effect = generator.normal(0, 0.1, (seeds, 1)) + generator.normal(0, 0.2, (1, 64))
        low, high = ratio_of(np.exp(effect + generator.normal(0, 0.2, (seeds, 64))), np.ones((1, 64))).interval()
        inside += low <= (0.2**2 + 0.2**2) / 2 <= high
    assert 0.91 <= inside / 300 <= 0.99


def test_holm_follows_its_definition():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])  # by hand
    generator = np.random.default_rng(4)
    for _ in range(20):
        p_values = generator.uniform(0, 0.2, 5)
        corrected = holm(p_values)
        for index in range(5):  # the closed test: every family that holds it is rejected by Bonferroni
            families = [
                family for n in range(1, 6) for family in itertools.combinations(range(5), n) if index in family
            ]
            expected = max(min(1.0, len(family) * min(p_values[list(family)])) for family in families)
            assert corrected[index] == pytest.approx(expected)


def test_words_come_from_corrected_values():
    generator = np.random.default_rng(5)
    metric = "deviation_depth"
    mine, base = noisy(generator, 0.97, seeds=4, noise=0.02)
    alone = verdicts(report("a", {metric: mine}), report("b", {metric: base})).iloc[0]
    metrics = {metric: False} | {f"{metric}{i}": False for i in range(20)}
    tables = {name: noisy(generator, 1.0, seeds=4, noise=0.02) for name in metrics} | {metric: (mine, base)}
    both = (report(name, {m: pair[i] for m, pair in tables.items()}, metrics) for i, name in enumerate("ab"))
    with pytest.MonkeyPatch.context() as patch:
        from fgq.evaluation import verdict

        patch.setattr(verdict, "METRICS", dict.fromkeys(metrics, verdict.METRICS[metric]))
        many = verdicts(*both)
    (row,) = many[many.metric == metric].itertuples()
    assert row.p_difference > alone.p_difference and row.change == pytest.approx(alone.change)
    assert math.isclose(row.p_difference, min(1.0, 21 * alone.p_difference), rel_tol=0.5)


def test_what_is_told_names_metric_verdict_and_interval():
    mine, base = noisy(np.random.default_rng(0), 0.6)
    (line,) = tell(verdicts(report("a", {"deviation_depth": mine}), report("b", {"deviation_depth": base})))
    assert line.startswith("deviation_depth: better (-39.3 %, -4") and line.endswith(" %)")


def test_what_has_no_ratio_and_what_is_not_there_is_refused():
    mine, base = noisy(np.random.default_rng(0))
    ours, theirs = (report(name, {"deviation_depth": table}) for name, table in (("a", mine), ("b", 0 * base)))
    with pytest.raises(FgqError, match="deviation_depth of a has no ratio to the reference"):
        verdicts(ours, theirs)
    with pytest.raises(FgqError, match="within is 0"):
        verdicts(ours, ours, within=0)
    with pytest.raises(FgqError, match="no metric chamfer in common: choose from deviation_depth"):
        verdicts(ours, ours, ["chamfer"])
