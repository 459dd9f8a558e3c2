import matplotlib

matplotlib.use("Agg")

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt

from fgq import plots


@pytest.fixture(autouse=True)
def no_open_figures():
    yield
    plt.close("all")


def table(shift: float) -> pd.DataFrame:
    rows = [(b, s, i + shift, 10 * i + shift) for i, (b, s) in enumerate((b, s) for b in ("F0", "G0") for s in "xyz")]
    return pd.DataFrame(rows, columns=["block", "site", "crest", "decibels"])


def test_every_model_has_its_column_and_every_site_its_line():
    tables = {"plain": table(1.0), "stressed": table(5.0)}
    figure = plots.show_site_statistics(tables, ("crest", "decibels"))
    axes = np.array(figure.axes).reshape(2, 2)
    for column, (name, rows) in enumerate(tables.items()):
        assert axes[0, column].get_title() == name
        for axis, statistic in zip(axes[:, column], ("crest", "decibels"), strict=True):
            assert [line.get_label() for line in axis.lines] == ["x", "y", "z"]
            for line in axis.lines:
                own = rows[rows.site == line.get_label()]
                np.testing.assert_array_equal(line.get_ydata(), own[statistic])
                assert list(line.get_xdata()) == ["F0", "G0"]
    assert [axis.get_yscale() for axis in axes[:, 0]] == ["log", "linear"]


def test_values_lie_on_the_grid_of_their_own_token():
    tokens = torch.tensor([[7.0, 0.2, 0.4, -3.0], [70.0, 2.0, 4.0, -30.0]])  # steps 1 and 10: the same codes
    figure = plots.show_on_grid({"two tokens": tokens, "one": tokens[:1]}, bits=4)
    left, right = figure.axes
    assert left.get_title() == "two tokens\n50% become zero"
    heights = [[bar.get_height() for bar in axis.patches] for axis in (left, right)]
    np.testing.assert_allclose(*heights)
    filled = [bar.get_x() for bar in left.patches if bar.get_height() > 0]
    np.testing.assert_allclose(filled, [-3.0, 0.125, 0.375, 7.0])
    codes = [line.get_xdata()[0] for line in left.lines]
    assert codes == list(range(-8, 8))
