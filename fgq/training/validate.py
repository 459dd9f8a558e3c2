"""Accuracy of a model on held-out scenes: while it trains, and once more for its card."""

import pandas as pd
import torch

from fgq.data.playroom import load
from fgq.evaluation import evaluate, predict
from fgq.geometry import decode_pose
from fgq.metrics.depth import depth_errors
from fgq.metrics.pose import auc, pair_errors
from fgq.vggt import VGGT

CARD_METRICS = ("pose_auc@30", "pose_auc@5", "depth_abs_rel", "depth_delta1", "point_error", "point_error_scale_only")


def validate(model: VGGT, count: int, frames: int, split: str = "validation", size: int = 64) -> dict[str, float]:
    """Medians and AUC over all frame pairs of `count` scenes, means over scenes.

    Angles in degrees. Depth is compared after median scale; `point_error` without any alignment, in units of the
    scene's mean distance, because the playroom's metres are what the model was taught.
    """
    scenes = load(split, count, frames, size=size)
    rotation, translation, depth, points = [], [], [], []
    for scene, prediction in zip(scenes, predict(model, scenes, batch_size=16, progress=False), strict=True):
        extrinsics, _ = decode_pose(prediction.pose_enc[0], (size, size))
        angles = pair_errors(extrinsics, scene.extrinsics)
        rotation.append(angles[0])
        translation.append(angles[1])
        depth.append(depth_errors(prediction.depth[0, ..., 0], scene.depth, scene.valid)["abs_rel"])
        error = (prediction.world_points[0] - scene.points).norm(dim=-1).mean()
        points.append((error / scene.points.norm(dim=-1).mean()).item())
    rotation, translation = torch.cat(rotation), torch.cat(translation)
    return {
        "rotation_median_deg": rotation.median().item(),
        "translation_median_deg": translation.median().item(),
        "auc30": auc(rotation, translation, 30).item(),
        "abs_rel": sum(depth) / count,
        "point_error": sum(points) / count,
    }


def accuracy_for_card(model: VGGT, frames: int, count: int = 256) -> dict:
    """What `write_card` says of a finished model: scenes of the split `test`, which no training step looks at."""
    report = evaluate(model, load("test", count, frames), progress=False)
    summary = report.summary().set_index("metric").loc[list(CARD_METRICS)]
    table = pd.DataFrame(
        {
            "metric": summary.index,
            "mean [95 % interval]": [f"{r.mean:.4g} [{r.low:.4g}, {r.high:.4g}]" for r in summary.itertuples()],
            "unit": summary.unit,
        }
    )
    pooled = validate(model, count, frames, "test")
    return {
        "table": table,
        "scenes": count,
        "rotation_median": pooled["rotation_median_deg"],
        "translation_median": pooled["translation_median_deg"],
    }
