"""Point map errors after a similarity: matched points, and clouds by nearest neighbours both ways."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import small_gicp
from jaxtyping import Float, Int
from torch import Tensor, get_num_threads

from fgq.errors import FgqError
from fgq.geometry.alignment import align_similarity

Predicted = Float[np.ndarray, "predicted 3"]
Truth = Float[np.ndarray, "truth 3"]

ICP_REACH = {"metre": 0.1, "millimetre": 100.0}  # farther pairs do not pull (the published protocol)
ICP_SHARE = 0.05  # of the scene's mean distance, where the unit has no length
ICP_STEPS = 30
NORMAL_NEIGHBOURS = 30
FEWEST_POINTS = 10  # small_gicp refuses fewer


@dataclass(frozen=True)
class CloudProtocol:
    """How many points of a scene are looked up in the other cloud, which is always searched whole.

    They are spread evenly over the pixels' order, so they are the same for every model. None takes all. Zero normals
    leave out their consistency, which costs as much as the rest.
    """

    points: int | None = 1000
    normals: int | None = 0


FAST_CLOUDS = CloudProtocol()
FULL_CLOUDS = CloudProtocol(points=None, normals=None)  # as published


class SearchedCloud:
    """A cloud [N, 3] with what look-ups in it need, made once. The tree is about its mean, in lengths of `unit`."""

    def __init__(self, points: Truth, unit: float = 1.0):
        self.points, self.unit, self.centre = points, unit, points.mean(0)

    def scaled(self, points: Predicted) -> Predicted:
        return (points - self.centre) / self.unit

    @cached_property
    def fixed(self) -> small_gicp.PointCloud:
        return small_gicp.PointCloud(self.scaled(self.points))

    @cached_property
    def tree(self) -> small_gicp.KdTree:
        return small_gicp.KdTree(self.fixed, num_threads=get_num_threads())

    @cached_property
    def normals(self) -> Truth:
        return surface_normals(self.points)

    def nearest(self, queries: Predicted) -> tuple[Float[np.ndarray, " queries"], Int[np.ndarray, " queries"]]:
        """Distance to the nearest point of the cloud, and which one it is."""
        index, squared = self.tree.batch_nearest_neighbor_search(self.scaled(queries), get_num_threads())
        return self.unit * np.sqrt(squared), np.asarray(index, dtype=int)


def searched(cloud: Truth | SearchedCloud, unit: float = 1.0) -> SearchedCloud:
    return cloud if isinstance(cloud, SearchedCloud) else SearchedCloud(cloud, unit)


def mean_point_error(predicted: Float[Tensor, "points 3"], truth: Float[Tensor, "points 3"]) -> float:
    """Mean distance of matched points after a Sim(3), over the mean distance of the true points from camera 0.

    Points are in the first camera's frame. No unit: 0.1 means a tenth of the scene's mean distance.
    """
    predicted, truth = predicted.double(), truth.double()
    return relative_distance(align_similarity(predicted, truth).apply(predicted), truth)


def scaled_point_error(predicted: Float[Tensor, "points 3"], truth: Float[Tensor, "points 3"]) -> float:
    """As `mean_point_error`, but only one scale is free: the one of least squares about the first camera.

    It also sees a world that is turned or shifted, which a similarity forgives. Raises FgqError when the prediction
    is a single point at the camera.
    """
    predicted, truth = predicted.double(), truth.double()
    size = predicted.square().sum()
    if not size > 0:
        raise FgqError("all predicted points lie at the first camera: no scale can be found")
    return relative_distance(predicted * ((predicted * truth).sum() / size), truth)


def relative_distance(aligned: Float[Tensor, "points 3"], truth: Float[Tensor, "points 3"]) -> float:
    return ((aligned - truth).norm(dim=-1).mean() / truth.norm(dim=-1).mean()).item()


def evenly_spread(count: int, most: int | None) -> Int[np.ndarray, " kept"]:
    """At most `most` indices out of `count`, first and last included."""
    return np.linspace(0, count - 1, count if most is None else min(most, count)).round().astype(int)


def surface_normals(cloud: Predicted) -> Predicted:
    """Unit normals of either sign: the direction in which each point's nearest neighbours vary least."""
    centred = small_gicp.PointCloud(cloud - cloud.mean(0))
    neighbours = min(NORMAL_NEIGHBOURS, len(cloud))
    small_gicp.estimate_normals(centred, num_neighbors=neighbours, num_threads=get_num_threads())
    return centred.normals()[:, :3]


def cloud_errors(
    predicted: Predicted,
    truth: Truth | SearchedCloud,
    predicted_normals: Predicted | None = None,
    truth_normals: Truth | None = None,
    protocol: CloudProtocol = FULL_CLOUDS,
) -> dict[str, float]:
    """Accuracy (predicted to true), completeness (true to predicted), mean and median, in the clouds' unit.

    With normals also their consistency: |cosine| between each point's normal and its nearest neighbour's, `nc1` from
    predicted to true, `nc2` back, `nc` their mean. Given normals are used at all points; otherwise they are estimated
    from all points and compared at as many as the protocol says.
    """
    found, target = SearchedCloud(predicted), searched(truth)
    of_predicted = evenly_spread(len(predicted), protocol.points)
    of_truth = evenly_spread(len(target.points), protocol.points)
    to_truth = target.nearest(predicted[of_predicted])[0]
    to_predicted = found.nearest(target.points[of_truth])[0]
    errors = {
        "acc_mean": float(to_truth.mean()),
        "acc_median": float(np.median(to_truth)),
        "comp_mean": float(to_predicted.mean()),
        "comp_median": float(np.median(to_predicted)),
    }
    if predicted_normals is not None and truth_normals is not None:
        most = None
    elif protocol.normals != 0:
        predicted_normals, truth_normals, most = found.normals, target.normals, protocol.normals
    else:
        return errors
    kept = evenly_spread(len(predicted), most)
    forward = (truth_normals[target.nearest(predicted[kept])[1]] * predicted_normals[kept]).sum(-1)
    kept = evenly_spread(len(target.points), most)
    backward = (predicted_normals[found.nearest(target.points[kept])[1]] * truth_normals[kept]).sum(-1)
    for statistic, function in (("mean", np.mean), ("median", np.median)):
        errors[f"nc1_{statistic}"] = float(function(np.abs(forward)))
        errors[f"nc2_{statistic}"] = float(function(np.abs(backward)))
        errors[f"nc_{statistic}"] = (errors[f"nc1_{statistic}"] + errors[f"nc2_{statistic}"]) / 2
    return errors


def refine_by_icp(
    predicted: Predicted, truth: Truth | SearchedCloud, max_distance: float, protocol: CloudProtocol = FULL_CLOUDS
) -> Predicted:
    """The predicted cloud after rigid point-to-point ICP; pairs farther than `max_distance` do not count.

    Both clouds go to small_gicp centred and in units of `max_distance`: its stopping rule is an absolute length, and
    the result must not depend on metres or millimetres. A searched cloud must have that unit.
    """
    target = searched(truth, max_distance)
    if min(len(predicted), len(target.points)) < FEWEST_POINTS:
        counts = f"{len(predicted)} and {len(target.points)}"
        raise FgqError(f"the clouds have {counts} points; ICP needs at least {FEWEST_POINTS}")
    moving = target.scaled(predicted)
    kept = moving[evenly_spread(len(moving), None if protocol.points is None else max(protocol.points, FEWEST_POINTS))]
    motion = small_gicp.align(
        target.fixed,
        small_gicp.PointCloud(kept),
        target.tree,
        registration_type="ICP",
        max_correspondence_distance=max_distance / target.unit,
        num_threads=1,  # several add up in any order
        max_iterations=ICP_STEPS,
    ).T_target_source
    return (moving @ motion[:3, :3].T + motion[:3, 3]) * target.unit + target.centre


def icp_reach(unit: str, truth: Float[Tensor, "points 3"]) -> float:
    """Largest distance of a pair that pulls in ICP, in `unit`; points are in the first camera's frame."""
    return ICP_REACH.get(unit, ICP_SHARE * truth.norm(dim=-1).mean().item())


def aligned_clouds(
    predicted: Float[Tensor, "points 3"],
    truth: Float[Tensor, "points 3"],
    icp_distance: float,
    protocol: CloudProtocol = FULL_CLOUDS,
) -> tuple[Predicted, Truth]:
    """Predicted cloud on the true one: Sim(3) on all matched points, then ICP led by the protocol's points."""
    predicted, truth = predicted.double(), truth.double()
    aligned = align_similarity(predicted, truth).apply(predicted).cpu().numpy()
    reference = truth.cpu().numpy()
    return refine_by_icp(aligned, reference, icp_distance, protocol), reference
