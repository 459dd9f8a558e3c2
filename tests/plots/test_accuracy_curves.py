import numpy as np
import torch

from fgq import plots
from fgq.metrics.pose import auc


def test_the_shaded_area_is_the_auc():
    generator = torch.Generator().manual_seed(0)
    errors = {name: tuple(40 * torch.rand(2, 300, generator=generator, dtype=torch.float64)) for name in ("a", "b")}
    axes = plots.show_accuracy_curves(errors, (3, 30)).axes
    for axis, limit in zip(axes, (3, 30), strict=True):
        assert axis.get_xlim() == (0, limit)
        labels = [text.get_text() for text in axis.get_legend().get_texts()]
        outlines = [patch for patch in axis.patches if not patch.fill]
        for patch, label, (name, pair) in zip(outlines, labels, errors.items(), strict=True):
            heights = patch.get_data().values
            assert len(heights) == limit and np.all(np.diff(heights) >= 0)
            np.testing.assert_allclose(heights.mean(), auc(*pair, limit), rtol=1e-9)
            assert label == f"{name}: AUC@{limit} {heights.mean():.1f} %"
