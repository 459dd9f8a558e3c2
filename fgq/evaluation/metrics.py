"""The table of metrics: which task each belongs to, its unit, and which way is better.

Every metric is a number of one scene: AUC, RRA and RTA of its frame pairs, then averaged over scenes, so that each
scene counts alike however many frames it has. Pooling all pairs first gives other numbers.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    name: str
    task: str
    unit: str
    higher_is_better: bool = False


METRICS = {
    metric.name: metric
    for metric in (
        *(Metric(f"pose_auc@{degrees}", "camera", "%", True) for degrees in (3, 5, 15, 30)),
        Metric("pose_rra@30", "camera", "%", True),
        Metric("pose_rta@30", "camera", "%", True),
        Metric("pose_rotation_error", "camera", "degree"),  # median over the scene's pairs
        Metric("pose_rotation_error_mean", "camera", "degree"),
        Metric("pose_translation_error", "camera", "degree"),  # median over the scene's pairs, direction only
        Metric("pose_translation_error_mean", "camera", "degree"),
        Metric("trajectory_ate", "camera", "scene unit"),
        Metric("trajectory_rpe_translation", "camera", "scene unit"),
        Metric("trajectory_rpe_rotation", "camera", "degree"),
        Metric("depth_abs_rel", "depth", "1"),
        Metric("depth_sq_rel", "depth", "scene unit"),
        Metric("depth_rmse", "depth", "scene unit"),
        Metric("depth_delta1", "depth", "1", True),
        Metric("affine_depth_abs_rel", "depth", "1"),  # these four after a scale and a shift
        Metric("affine_depth_sq_rel", "depth", "scene unit"),
        Metric("affine_depth_rmse", "depth", "scene unit"),
        Metric("affine_depth_delta1", "depth", "1", True),
        Metric("confidence_depth_ause", "depth", "1"),  # of the relative error after one scale
        Metric("confidence_points_ause", "points", "1"),  # of the distance after a similarity
        Metric("point_error", "points", "mean distance"),  # after a similarity
        Metric("point_error_scale_only", "points", "mean distance"),  # after one scale in the first camera's frame
        *(
            Metric(f"{source}_{measure}_{statistic}", "points", "scene unit")
            for source in ("points", "unprojected")  # the point head; depth through the predicted cameras
            for measure in ("acc", "comp")
            for statistic in ("mean", "median")
        ),
        *(
            Metric(f"{source}_nc_{statistic}", "points", "1", True)
            for source in ("points", "unprojected")
            for statistic in ("mean", "median")
        ),
        Metric("deviation_rotation", "camera", "degree"),
        Metric("deviation_translation", "camera", "mean translation"),
        Metric("deviation_depth", "depth", "1"),
        Metric("deviation_points", "points", "mean distance"),
        Metric("cost_latency", "cost", "second"),
        Metric("cost_memory", "cost", "byte"),  # peak above the weights
    )
}
HEADLINE = ("pose_auc@30", "depth_abs_rel", "point_error")  # one a task
DEVIATIONS = tuple(name for name in METRICS if name.startswith("deviation_"))
COSTS = tuple(name for name in METRICS if name.startswith("cost_"))  # by `measure_costs`, never by `evaluate`
NORMAL_CONSISTENCY = tuple(name for name in METRICS if "_nc_" in name)  # only when the protocol asks for normals
