"""All accuracies of one scene, or the reason why one cannot be had."""

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from fgq.data.scene import Scene
from fgq.errors import FgqError
from fgq.geometry import decode_pose, transform_points, unproject
from fgq.geometry.alignment import align_similarity
from fgq.metrics.confidence import Sparsification, sparsification
from fgq.metrics.depth import depth_errors, scale_and_shift_to, scale_to, valid_depths
from fgq.metrics.points import (
    FAST_CLOUDS,
    FEWEST_POINTS,
    CloudProtocol,
    SearchedCloud,
    cloud_errors,
    icp_reach,
    refine_by_icp,
    relative_distance,
    scaled_point_error,
)
from fgq.metrics.pose import auc, pair_errors, recall
from fgq.metrics.table import AUC_THRESHOLDS, NORMAL_CONSISTENCY, names
from fgq.metrics.trajectory import trajectory_errors
from fgq.vggt import Predictions

ROUNDINGS = 16  # of a float32 prediction, which relative errors of truth itself stay below


@dataclass(frozen=True)
class Missing:
    """Stands for a metric's number where there is none."""

    reason: str


Values = dict[str, float | Missing]  # by metric


def count_valid_pixels(scene: Scene) -> int:
    return 0 if scene.depth is None and scene.points is None else int(scene.valid_mask.sum())


def measure(prediction: Predictions, scene: Scene, clouds: CloudProtocol = FAST_CLOUDS) -> Values:
    """All accuracies of one clip (batch size 1) against its scene; `clouds` as in `CloudProtocol`."""
    extrinsics, intrinsics = decode_pose(prediction.pose_enc[0].double(), scene.images.shape[-2:])
    truth = cache(lambda: true_cloud(scene))
    head = cache(lambda: MatchedPoints(prediction.world_points[0], scene))
    lifted = cache(
        lambda: MatchedPoints(unproject(prediction.depth[0, ..., 0].double(), extrinsics, intrinsics), scene)
    )
    groups = {
        "pose": lambda: measure_pose(extrinsics, scene),
        "trajectory": lambda: trajectory_errors(extrinsics, true_cameras(scene)),
        "depth": lambda: depth_errors(*depths(prediction, scene)),
        "affine_depth": lambda: depth_errors(*depths(prediction, scene), scale_and_shift_to),
        "confidence_depth": lambda: {"ause": depth_sparsification(prediction, scene).ause},
        "confidence_points": lambda: {"ause": sparsify_points(prediction, head()).ause},
        "point": lambda: measure_matched_points(head()),
        "points": lambda: measure_cloud(head(), truth(), clouds),
        "unprojected": lambda: measure_cloud(lifted(), truth(), clouds),
    }
    unasked = NORMAL_CONSISTENCY if clouds.normals == 0 else ()
    values: Values = {}
    for group, measured in groups.items():
        try:
            values |= {f"{group}_{name}": value for name, value in measured().items()}
        except FgqError as error:
            values |= {name: Missing(str(error)) for name in names(group) if name not in unasked}
    return values


def measure_pose(extrinsics: Tensor, scene: Scene) -> dict[str, float]:
    rotation, translation = pair_errors(extrinsics, true_cameras(scene))
    return {
        **{f"auc@{limit}": auc(rotation, translation, limit).item() for limit in AUC_THRESHOLDS},
        "rra@30": recall(rotation).item(),
        "rta@30": recall(translation).item(),
        "rotation_error": rotation.median().item(),
        "rotation_error_mean": rotation.mean().item(),
        "translation_error": translation.median().item(),
        "translation_error_mean": translation.mean().item(),
    }


def true_cameras(scene: Scene) -> Tensor:
    if scene.extrinsics is None:
        raise FgqError("the scene has no true cameras")
    return scene.extrinsics.double()


def depths(prediction: Predictions, scene: Scene) -> tuple[Tensor, Tensor, Tensor]:
    """Predicted and true depth [S, H, W] and where the true one can be trusted."""
    if scene.depth is None:
        raise FgqError("the scene has no true depth")
    return prediction.depth[0, ..., 0], scene.depth, scene.valid_mask


def relative_depth_errors(prediction: Predictions, scene: Scene) -> Tensor:
    """|predicted - true| / true of all valid pixels, after one scale for the scene. Raises FgqError without depth."""
    predicted, truth = valid_depths(*depths(prediction, scene))
    return (scale_to(predicted, truth) - truth).abs() / truth


def depth_error_maps(prediction: Predictions, scene: Scene) -> Tensor:
    """`relative_depth_errors` where they belong: [S, H, W], NaN where invalid."""
    errors = relative_depth_errors(prediction, scene)
    return torch.full_like(scene.depth, torch.nan, dtype=errors.dtype).masked_scatter(scene.valid_mask, errors)


def depth_sparsification(prediction: Predictions, scene: Scene) -> Sparsification:
    """Relative depth errors by the predicted confidence. Raises FgqError without true depth."""
    confidence = prediction.depth_conf[0][scene.valid_mask]
    return order_by_confidence(confidence, relative_depth_errors(prediction, scene))


def point_sparsification(prediction: Predictions, scene: Scene) -> Sparsification:
    """Distances of the point head's points after a similarity, by its confidence. Raises FgqError without points."""
    return sparsify_points(prediction, MatchedPoints(prediction.world_points[0], scene))


def sparsify_points(prediction: Predictions, head: "MatchedPoints") -> Sparsification:
    error = (head.aligned - head.truth).norm(dim=-1) / head.truth.norm(dim=-1).mean()
    return order_by_confidence(prediction.world_points_conf[0][head.valid], error)


def order_by_confidence(confidence: Tensor, error: Tensor) -> Sparsification:
    """The curves of relative errors; of rounding errors no confidence can know the order, so they count as none."""
    exact = torch.finfo(torch.float32).eps * ROUNDINGS
    return sparsification(confidence.double().numpy(), error.where(error > exact, 0.0).numpy())


class MatchedPoints:
    """A predicted point map [S, H, W, 3] at the pixels with true points, before and after a Sim(3) onto these."""

    def __init__(self, points: Tensor, scene: Scene):
        self.valid, self.truth = true_points(scene)
        self.points = points[self.valid].double()
        self.aligned = align_similarity(self.points, self.truth).apply(self.points)


def measure_matched_points(points: MatchedPoints) -> dict[str, float]:
    return {
        "error": relative_distance(points.aligned, points.truth),
        "error_scale_only": scaled_point_error(points.points, points.truth),
    }


def measure_cloud(points: MatchedPoints, truth: SearchedCloud, clouds: CloudProtocol) -> dict[str, float]:
    settled = refine_by_icp(points.aligned.cpu().numpy(), truth, clouds)
    return cloud_errors(SearchedCloud(settled), truth, clouds)


def true_cloud(scene: Scene) -> SearchedCloud:
    """A scene's true points, looked up by both predicted clouds."""
    _, points = true_points(scene)
    return SearchedCloud(points.numpy(), icp_reach(scene.unit, points))


def true_points(scene: Scene) -> tuple[Tensor, Tensor]:
    """Valid mask [S, H, W] and the true points under it [points, 3], in the first camera's frame as the predictions."""
    if scene.points is None:
        raise FgqError("the scene has no true points")
    valid = scene.valid_mask
    points = scene.points.double()
    if scene.extrinsics is not None:
        points = transform_points(scene.extrinsics[:1].double().expand(len(points), 3, 4), points)
    truth = points[valid]
    if len(truth) < FEWEST_POINTS:
        raise FgqError(f"the scene has {len(truth)} valid points, too few to align")
    return valid, truth
