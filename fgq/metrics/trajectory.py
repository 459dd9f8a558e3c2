"""Errors of a whole camera path, by the library `evo`: absolute (ATE) and frame to frame (RPE)."""

import numpy as np
from evo.core import metrics
from evo.core.geometry import GeometryException
from evo.core.trajectory import PosePath3D
from jaxtyping import Float
from torch import Tensor

from fgq.errors import FgqError
from fgq.geometry import invert_extrinsics


def as_path(extrinsics: Float[Tensor, "frames 3 4"]) -> PosePath3D:
    poses = invert_extrinsics(extrinsics.double()).cpu().numpy()
    bottom = np.tile([[[0.0, 0, 0, 1]]], (len(poses), 1, 1))
    return PosePath3D(poses_se3=list(np.concatenate([poses, bottom], axis=1)))


def trajectory_errors(predicted: Float[Tensor, "frames 3 4"], truth: Float[Tensor, "frames 3 4"]) -> dict[str, float]:
    """ATE and RPE translation (the truth's unit) and RPE rotation (degrees), root mean square.

    The predicted path is first aligned by a similarity, scale included; RPE takes steps of one frame, all pairs.
    Raises FgqError for fewer than three frames or a path that cannot be aligned.
    """
    if len(truth) < 3:
        raise FgqError(f"a trajectory needs at least 3 frames to be aligned, got {len(truth)}")
    reference, estimate = as_path(truth), as_path(predicted)
    try:
        estimate.align(reference, correct_scale=True)
    except (GeometryException, np.linalg.LinAlgError) as error:
        raise FgqError(f"the predicted camera path cannot be aligned to the true one: {error}") from error

    def rms(metric: metrics.PE) -> float:
        metric.process_data((reference, estimate))
        return float(metric.get_statistic(metrics.StatisticsType.rmse))

    step = dict(delta=1, delta_unit=metrics.Unit.frames, all_pairs=True)
    return {
        "ate": rms(metrics.APE(metrics.PoseRelation.translation_part)),
        "rpe_translation": rms(metrics.RPE(metrics.PoseRelation.translation_part, **step)),
        "rpe_rotation": rms(metrics.RPE(metrics.PoseRelation.rotation_angle_deg, **step)),
    }
