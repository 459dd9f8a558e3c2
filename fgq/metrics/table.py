"""The table of metrics: what is measured together, the task it belongs to, its unit, and which way is better.

Every metric is a number of one scene: AUC, RRA and RTA of its frame pairs, then averaged over scenes, so that each
scene counts alike however many frames it has. Pooling all pairs first gives other numbers.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    group: str  # measured together, and missing together where the scene lacks what they need
    measure: str
    task: str
    unit: str
    higher_is_better: bool = False

    @property
    def name(self) -> str:
        return f"{self.group}_{self.measure}"


AUC_THRESHOLDS = (3, 5, 15, 30)  # degrees
CLOUDS = ("points", "unprojected")  # groups: the point head; depth through the predicted cameras
METRICS = {
    metric.name: metric
    for metric in (
        *(Metric("pose", f"auc@{degrees}", "camera", "%", True) for degrees in AUC_THRESHOLDS),
        Metric("pose", "rra@30", "camera", "%", True),
        Metric("pose", "rta@30", "camera", "%", True),
        Metric("pose", "rotation_error", "camera", "degree"),  # median over the scene's pairs
        Metric("pose", "rotation_error_mean", "camera", "degree"),
        Metric("pose", "translation_error", "camera", "degree"),  # median over the scene's pairs, direction only
        Metric("pose", "translation_error_mean", "camera", "degree"),
        Metric("trajectory", "ate", "camera", "scene unit"),
        Metric("trajectory", "rpe_translation", "camera", "scene unit"),
        Metric("trajectory", "rpe_rotation", "camera", "degree"),
        *(
            metric
            for group in ("depth", "affine_depth")  # after one scale; after a scale and a shift
            for metric in (
                Metric(group, "abs_rel", "depth", "1"),
                Metric(group, "sq_rel", "depth", "scene unit"),
                Metric(group, "rmse", "depth", "scene unit"),
                Metric(group, "delta1", "depth", "1", True),
            )
        ),
        Metric("confidence_depth", "ause", "depth", "1"),  # of the relative error after one scale
        Metric("confidence_points", "ause", "points", "1"),  # of the distance after a similarity
        Metric("point", "error", "points", "mean distance"),  # after a similarity
        Metric("point", "error_scale_only", "points", "mean distance"),  # after one scale in the first camera's frame
        *(
            Metric(group, f"{measure}_{statistic}", "points", "scene unit")
            for group in CLOUDS
            for measure in ("acc", "comp")
            for statistic in ("mean", "median")
        ),
        *(
            Metric(group, f"nc_{statistic}", "points", "1", True)
            for group in CLOUDS
            for statistic in ("mean", "median")
        ),
        Metric("deviation", "rotation", "camera", "degree"),
        Metric("deviation", "translation", "camera", "mean translation"),
        Metric("deviation", "depth", "depth", "1"),
        Metric("deviation", "points", "points", "mean distance"),
        Metric("cost", "latency", "cost", "second"),
        Metric("cost", "memory", "cost", "byte"),  # peak above the weights
        Metric("cost", "bit_operations", "cost", "bit-operation"),  # of the blocks' linear layers
    )
}


def names(group: str) -> tuple[str, ...]:
    """All metrics of a group."""
    return tuple(name for name, metric in METRICS.items() if metric.group == group)


HEADLINE = ("pose_auc@30", "depth_abs_rel", "point_error")  # one a task
DEVIATIONS = names("deviation")
COSTS = names("cost")  # by `measure_costs`, never by `evaluate`
# Only when the protocol asks for normals.
NORMAL_CONSISTENCY = tuple(f"{group}_nc_{statistic}" for group in CLOUDS for statistic in ("mean", "median"))
