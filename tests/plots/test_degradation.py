import numpy as np
import pandas as pd
import pytest

from fgq import plots


def test_lines_have_the_harm_and_the_interval_in_percent(report_of):
    generator = np.random.default_rng(0)
    base = generator.uniform(1, 2, (1, 40))
    full = report_of(base, "full precision", bits=(16, 16))
    tables = [
        report_of(base + add + generator.normal(0, 0.02, (2, 40)), recipe, bits=bits).compare(full)
        for recipe, bits, add in (("rtn", (4, 8), 0.1), ("rtn", (4, 4), 0.5), ("fgq", (4, 8), -0.05))
    ]
    (axis,) = plots.show_degradation(pd.concat(tables, ignore_index=True), ["depth_abs_rel"]).axes
    assert [label.get_text() for label in axis.get_xticklabels()] == ["W4A8", "W4A4"]
    rounded, weighted = axis.containers
    np.testing.assert_allclose(rounded.lines[0].get_ydata().astype(float), [table.harm.item() for table in tables[:2]])
    assert rounded.lines[0].get_ydata()[1] == pytest.approx(100 * 0.5 / base.mean(), rel=0.05)
    reach = weighted.lines[2][0].get_segments()[0][:, 1]
    np.testing.assert_allclose(reach, 100 * tables[2][["low", "high"]].to_numpy()[0] / base.mean())
    assert weighted.lines[0].get_ydata()[0] < 0  # a gain is drawn as less than no harm


def test_harm_is_drawn_upwards_where_higher_is_better(report_of):
    base = np.random.default_rng(1).uniform(50, 60, (1, 30))
    worse = base - 5 + np.random.default_rng(2).normal(0, 0.5, (1, 30))
    name = "pose_auc@30"
    table = report_of(worse, metric=name).compare(report_of(base, "full precision", metric=name))
    (axis,) = plots.show_degradation(table, [name]).axes
    segment = axis.containers[0].lines[2][0].get_segments()[0][:, 1]
    expected = sorted(-100 * table[["low", "high"]].to_numpy()[0] / base.mean())
    np.testing.assert_allclose(segment, expected)
    assert segment[0] > 0


def test_the_scatter_pairs_scenes_and_counts_the_better(report_of):
    base, mine = np.array([[1.0, 2, 3, 4]]), np.array([[0.5, 2.5, 2.0, 5.0], [0.5, 2.5, 2.0, 6.0]])
    (axis,) = plots.show_scene_scatter(report_of(mine), report_of(base, "full precision"), ["depth_abs_rel"]).axes
    dots = axis.lines[0]
    np.testing.assert_allclose(dots.get_xdata(), base[0])
    np.testing.assert_allclose(dots.get_ydata(), mine.mean(0))
    assert axis.get_title().split("\n")[1] == "rtn: 2 better, 2 worse"
