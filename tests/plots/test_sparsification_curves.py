import numpy as np

from fgq import plots
from fgq.metrics.confidence import sparsification


def test_curves_are_means_over_scenes_of_any_size():
    errors = [(np.arange(n) + 0.5) / n for n in (400, 1000)]
    blind = [sparsification(np.ones(len(error)), error) for error in errors]
    knowing = [sparsification(-error, error) for error in errors]
    (axis,) = plots.show_sparsification({"depth": {"blind": blind, "knowing": knowing}}).axes
    flat, oracle, good, _ = axis.lines[:4]
    np.testing.assert_allclose(flat.get_ydata(), 1)
    for line in (oracle, good):  # of uniform errors, a share k kept has k of the mean error
        np.testing.assert_allclose(line.get_ydata(), 1 - line.get_xdata(), atol=3e-3)
    labels = [text.get_text() for text in axis.get_legend().get_texts()]
    assert labels == [f"blind: AUSE {np.mean([b.ause for b in blind]):.3f}", "knowing: AUSE 0.000"]
