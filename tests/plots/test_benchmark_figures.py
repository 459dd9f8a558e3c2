import numpy as np
import pandas as pd
import pytest

from fgq import plots

METRICS = ["pose_auc@30", "depth_abs_rel", *plots.DEVIATION_LABELS]


@pytest.fixture
def table():
    generator, rows = np.random.default_rng(0), []
    models = [("full precision", 16, 16), ("rtn", 8, 8), ("fgq+", 8, 8), ("rtn", 4, 4), ("fgq+", 4, 4)]
    for recipe, weight_bits, activation_bits in models:
        for metric in METRICS:
            mean = generator.uniform(1, 2)
            row = {"recipe": recipe, "weight_bits": weight_bits, "activation_bits": activation_bits, "metric": metric}
            row |= {"mean": mean, "low": mean - 0.1, "high": mean + 0.2}
            if recipe != "full precision":
                row |= {"low_difference": -0.25, "high_difference": 0.125}
            rows.append(row)
    return pd.DataFrame(rows)


def test_dots_and_their_reach_are_those_of_the_table_recipe_by_recipe(table):
    figure = plots.show_benchmark(table)
    for axis, metric in zip(figure.axes, plots.DEVIATION_LABELS, strict=True):
        places = []
        for recipe, drawn in zip(["rtn", "fgq+"], axis.containers, strict=True):
            rows = table[(table.recipe == recipe) & (table.metric == metric)]
            np.testing.assert_allclose(drawn.lines[0].get_ydata().astype(float), rows["mean"])
            reach = [segment[:, 1] for segment in drawn.lines[2][0].get_segments()]
            np.testing.assert_allclose(np.array(reach, float), rows[["low", "high"]])
            places.append(drawn.lines[0].get_xdata().astype(float))
        first, second = places
        assert (np.round(first) == [0, 1]).all() and (np.round(second) == [0, 1]).all()  # each at its setting's tick
        assert (np.abs(first - second) > 0.1).all()  # and none upon another
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["rtn", "fgq+"]


def test_the_table_shows_every_mean_with_its_interval_and_the_best_of_a_setting_in_bold(table):
    styled = plots.show_benchmark_table(table, METRICS)
    assert list(styled.data.columns) == METRICS and len(styled.data) == 5
    styled._compute()
    for row, (setting, recipe) in enumerate(styled.data.index):
        for column, metric in enumerate(METRICS):
            mine = table[(table.metric == metric) & (table.recipe == recipe)]
            mine = mine[("W" + mine.weight_bits.astype(str) + "A" + mine.activation_bits.astype(str)) == setting].iloc[
                0
            ]
            lines = styled.data.iloc[row, column].split("\n")
            assert lines[0] == f"{mine['mean']:.4f}"
            assert lines[1:] == ([] if recipe == "full precision" else ["[-0.2500, +0.1250]"])
            rivals = table[(table.metric == metric) & (table.weight_bits == mine.weight_bits)]["mean"]
            best = rivals.max() if metric == "pose_auc@30" else rivals.min()
            bold = ("font-weight", "bold") in styled.ctx.get((row, column), [])
            assert bold == (recipe != "full precision" and mine["mean"] == best)
