"""All accuracies of one scene, or the reason why one cannot be had."""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from fgq.data.scene import Scene
from fgq.errors import FgqError
from fgq.evaluation.confidence import Sparsification, sparsification
from fgq.evaluation.depth import affine_depth_errors, depth_errors, scale_to, valid_depths
from fgq.evaluation.metrics import METRICS, NORMAL_CONSISTENCY
from fgq.evaluation.points import (
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
from fgq.evaluation.pose import AUC_THRESHOLDS, auc, pair_errors, recall
from fgq.evaluation.trajectory import trajectory_errors
from fgq.geometry import decode_pose, transform_points, unproject
from fgq.geometry.alignment import align_similarity
from fgq.vggt import Predictions

ROUNDINGS = 16  # of a float32 prediction, which relative errors of truth itself stay below
Values = dict[str, float | str]  # a metric's value, or a sentence that says why there is none


def valid_mask(scene: Scene) -> Tensor:
    """Where depth and points can be trusted: [S, H, W]; everywhere when the scene does not say."""
    if scene.valid is not None:
        return scene.valid
    frames, _, height, width = scene.images.shape
    return torch.ones(frames, height, width, dtype=torch.bool)


def count_valid_pixels(scene: Scene) -> int:
    return 0 if scene.depth is None and scene.points is None else int(valid_mask(scene).sum())


def measure(prediction: Predictions, scene: Scene, clouds: CloudProtocol = FAST_CLOUDS) -> Values:
    """All accuracies of one clip (batch size 1) against its scene; `clouds` as in `CloudProtocol`."""
    extrinsics, intrinsics = decode_pose(prediction.pose_enc[0].double(), scene.images.shape[-2:])
    truth = cache(lambda: TrueCloud(scene))
    head = cache(lambda: MatchedPoints(prediction.world_points[0], scene))
    lifted = cache(
        lambda: MatchedPoints(unproject(prediction.depth[0, ..., 0].double(), extrinsics, intrinsics), scene)
    )
    return {
        **guarded("pose_", lambda: measure_pose(extrinsics, scene), clouds),
        **guarded("trajectory_", lambda: measure_trajectory(extrinsics, scene), clouds),
        **guarded("depth_", lambda: depth_errors(*depths(prediction, scene)), clouds),
        **guarded("affine_depth_", lambda: affine_depth_errors(*depths(prediction, scene)), clouds),
        **guarded("confidence_depth_", lambda: {"ause": depth_sparsification(prediction, scene).ause}, clouds),
        **guarded("confidence_points_", lambda: {"ause": sparsify_points(prediction, head()).ause}, clouds),
        **guarded("point_", lambda: measure_matched_points(head()), clouds),
        **guarded("points_", lambda: measure_cloud(head(), truth(), clouds), clouds),
        **guarded("unprojected_", lambda: measure_cloud(lifted(), truth(), clouds), clouds),
    }


def guarded(prefix: str, measured: Callable[[], dict[str, float]], clouds: CloudProtocol) -> Values:
    """The measured values under their full names, or for every metric with this prefix why it cannot be had."""
    try:
        return {prefix + name: value for name, value in measured().items()}
    except FgqError as error:
        unasked = NORMAL_CONSISTENCY if clouds.normals == 0 else ()
        return {name: str(error) for name in METRICS if name.startswith(prefix) and name not in unasked}


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


def measure_trajectory(extrinsics: Tensor, scene: Scene) -> dict[str, float]:
    errors = trajectory_errors(extrinsics, true_cameras(scene))
    return {
        "ate": errors["ate"],
        "rpe_translation": errors["rpe_translation"],
        "rpe_rotation": errors["rpe_rotation_deg"],
    }


def true_cameras(scene: Scene) -> Tensor:
    if scene.extrinsics is None:
        raise FgqError("the scene has no true cameras")
    return scene.extrinsics.double()


def depths(prediction: Predictions, scene: Scene) -> tuple[Tensor, Tensor, Tensor]:
    """Predicted and true depth [S, H, W] and where the true one can be trusted."""
    if scene.depth is None:
        raise FgqError("the scene has no true depth")
    return prediction.depth[0, ..., 0], scene.depth, valid_mask(scene)


def depth_sparsification(prediction: Predictions, scene: Scene) -> Sparsification:
    """Relative depth errors after one scale a scene, by the predicted confidence. FgqError without true depth."""
    predicted, truth = valid_depths(*depths(prediction, scene))
    error = (scale_to(predicted, truth) - truth).abs() / truth
    return order_by_confidence(prediction.depth_conf[0][valid_mask(scene)], error)


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


def measure_cloud(points: MatchedPoints, truth: "TrueCloud", clouds: CloudProtocol) -> dict[str, float]:
    settled = refine_by_icp(points.aligned.cpu().numpy(), truth.searched, truth.searched.unit, clouds)
    errors = cloud_errors(settled, truth.searched, protocol=clouds)
    return {name: value for name, value in errors.items() if not name.startswith(("nc1", "nc2"))}


class TrueCloud:
    """A scene's true points, looked up by both predicted clouds."""

    def __init__(self, scene: Scene):
        _, points = true_points(scene)
        self.searched = SearchedCloud(points.numpy(), icp_reach(scene.unit, points))


def true_points(scene: Scene) -> tuple[Tensor, Tensor]:
    """Valid mask [S, H, W] and the true points under it [points, 3], in the first camera's frame as the predictions."""
    if scene.points is None:
        raise FgqError("the scene has no true points")
    valid = valid_mask(scene)
    points = scene.points.double()
    if scene.extrinsics is not None:
        points = transform_points(scene.extrinsics[:1].double().expand(len(points), 3, 4), points)
    truth = points[valid]
    if len(truth) < FEWEST_POINTS:
        raise FgqError(f"the scene has {len(truth)} valid points, too few to align")
    return valid, truth
