import pandas as pd
from matplotlib.colors import same_color

from fgq import plots

METRICS = list(plots.DEVIATION_LABELS)


def found() -> pd.DataFrame:
    rows = []
    for recipe, change, p in (("better one", -0.25, 0.01), ("like it", 0.125, 0.6)):
        for metric in METRICS:
            ends = {"change": change, "low": change - 0.25, "high": change + 0.125}
            judged = {"p_difference": p, "p_equivalence": 0.9, "within": 0.3, "seeds": 5}
            rows.append({"recipe": recipe, "rival": "gptq", "metric": metric, **ends, **judged})
    return pd.DataFrame(rows)


def test_a_line_for_each_comparison_in_the_colour_of_its_corrected_verdict():
    figure = plots.show_verdicts(found())
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["like it\nagainst gptq", "better one\nagainst gptq"]
    for axis in figure.axes:
        dots = [container.lines[0] for container in axis.containers]
        assert [(dot.get_xdata().item(), dot.get_ydata().item()) for dot in dots] == [(-25, 1), (12.5, 0)]
        colours = [plots.CLEAR, plots.UNCLEAR]
        assert all(same_color(dot.get_color(), colour) for dot, colour in zip(dots, colours, strict=True))
        segments = [container.lines[2][0].get_segments()[0][:, 0].tolist() for container in axis.containers]
        assert segments == [[-50, -12.5], [-12.5, 25]]


def test_deviations_stand_over_their_seconds():
    means = found().assign(mean=2.0, low=1.5, high=2.25, seconds=[10.0] * 4 + [20.0] * 4)
    for axis in plots.show_seconds(means).axes:
        dots = [container.lines[0] for container in axis.containers]
        assert [(dot.get_xdata().item(), dot.get_ydata().item()) for dot in dots] == [(10, 2), (20, 2)]
        segments = [container.lines[2][0].get_segments()[0][:, 1].tolist() for container in axis.containers]
        assert segments == [[1.5, 2.25]] * 2
        assert [text.get_text() for text in axis.texts] == ["better one", "like it"]


def test_the_table_says_change_interval_and_verdict():
    table = plots.show_verdict_table(found()).data
    assert table.columns.tolist() == ["recipe", "rival", "rotation", "translation", "depth", "points"]
    assert table.recipe.tolist() == ["better one", "like it"]
    assert table.rotation.tolist() == ["-25 (-50 to -12), better", "+12 (-12 to +25), not decided"]
