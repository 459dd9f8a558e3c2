"""Does a model use more than one view? Depth of a frame with its companions, alone, and among strangers."""

import numpy as np
import pandas as pd
import torch

from fgq.data.scene import Scene
from fgq.errors import FgqError
from fgq.evaluation.evaluate import predict
from fgq.evaluation.intervals import mean_interval
from fgq.metrics.depth import depth_errors
from fgq.vggt import VGGT


def view_ablation(model: VGGT, scenes: list[Scene], batch_size: int = 8, progress: bool = False) -> pd.DataFrame:
    """Depth AbsRel of each scene's frame 0 under three kinds of company, with paired differences to the true one.

    Rows: with its own scene's frames, alone, with the next scene's frames. Columns: mean, and difference to the first
    row with its 95 % interval. Raises FgqError for fewer than two scenes or frames.
    """
    if len(scenes) < 2 or scenes[0].num_frames < 2:
        raise FgqError("the view ablation needs at least 2 scenes of at least 2 frames")
    strangers = [
        torch.cat([scene.images[:1], other.images[1:]])
        for scene, other in zip(scenes, scenes[1:] + scenes[:1], strict=True)
    ]
    company = {
        "own companions": [scene.images for scene in scenes],
        "alone": [scene.images[:1] for scene in scenes],
        "strangers": strangers,
    }
    errors = {}
    for name, images in company.items():
        shown = [Scene(name=s.name, images=i) for s, i in zip(scenes, images, strict=True)]
        predictions = predict(model, shown, batch_size, progress)
        errors[name] = np.array(
            [
                depth_errors(p.depth[0, 0, ..., 0], s.depth[0], s.valid_mask[0])["abs_rel"]
                for p, s in zip(predictions, scenes, strict=True)
            ]
        )
    rows = {}
    for name, values in errors.items():
        difference, low, high = mean_interval((values - errors["own companions"])[None])
        rows[name] = {"depth_abs_rel of frame 0": values.mean(), "difference": difference, "low": low, "high": high}
    return pd.DataFrame(rows).T
