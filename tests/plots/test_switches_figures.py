import numpy as np
import pandas as pd

from fgq import plots


def test_changes_are_percent_of_the_base_and_clear_ones_have_their_own_colour():
    rows = []
    for metric in plots.DEVIATION_LABELS:
        rows += [{"recipe": "flatquant", "group": "base", "base": "flatquant", "metric": metric, "mean": 2.0}]
        for name, ends in {"helps": (-0.5, -0.75, -0.125), "unknown": (0.25, -0.25, 0.5)}.items():
            change = dict(zip(["difference", "low_difference", "high_difference"], ends, strict=True))
            rows += [{"recipe": name, "group": "steps", "base": "flatquant", "metric": metric, "mean": 9.0} | change]
    rows += [rows[1] | {"recipe": "elsewhere", "group": "other"}]
    figure = plots.show_switches(pd.DataFrame(rows), ["steps"])
    for axis in figure.axes:
        dots = [container.lines[0].get_xdata().item() for container in axis.containers]
        assert dots == [-25, 12.5]
        ends = [
            np.array(container.lines[2][0].get_segments(), float)[0, :, 0].tolist() for container in axis.containers
        ]
        assert ends == [[-37.5, -6.25], [-12.5, 25]]
        colours = [container.lines[0].get_color() for container in axis.containers]
        assert colours == [plots.CLEAR, plots.UNCLEAR]
    heights = [container.lines[0].get_ydata().item() for container in figure.axes[0].containers]
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert [labels[figure.axes[0].get_yticks().tolist().index(height)] for height in heights] == ["helps", "unknown"]
