"""Point map errors after a similarity: matched points, and clouds by nearest neighbours both ways."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import small_gicp
from jaxtyping import Float, Int
from torch import Tensor, get_num_threads

from fgq.errors import FgqError

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
    """A cloud [N, 3] with what look-ups in it need, made once. The tree is about its mean, in lengths of `reach`."""

    def __init__(self, points: Truth, reach: float = 1.0):
        self.points, self.reach, self.centre = points, reach, points.mean(0)

    def scaled(self, points: Predicted) -> Predicted:
        return (points - self.centre) / self.reach

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
        return self.reach * np.sqrt(squared), np.asarray(index, dtype=int)


def scaled_point_error(predicted: Float[Tensor, "points 3"], truth: Float[Tensor, "points 3"]) -> float:
    """`relative_distance` where only one scale is free: the one of least squares about the first camera.

    It also sees a world that is turned or shifted, which a similarity forgives. Raises FgqError when the prediction
    is a single point at the camera.
    """
    predicted, truth = predicted.double(), truth.double()
    size = predicted.square().sum()
    if not size > 0:
        raise FgqError("all predicted points lie at the first camera: no scale can be found")
    return relative_distance(predicted * ((predicted * truth).sum() / size), truth)


def relative_distance(aligned: Float[Tensor, "points 3"], truth: Float[Tensor, "points 3"]) -> float:
    """Mean distance of matched points over the true points' mean distance from camera 0, at the origin.

    No unit: 0.1 means a tenth of the scene's mean distance.
    """
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
    predicted: SearchedCloud, truth: SearchedCloud, protocol: CloudProtocol = FULL_CLOUDS
) -> dict[str, float]:
    """Accuracy (predicted to true), completeness (true to predicted), mean and median, in the clouds' unit.

    Where the protocol asks for normals also their consistency, the mean of both directions' `normal_agreement`.
    """
    to_truth = truth.nearest(some_points(predicted, protocol.points))[0]
    to_predicted = predicted.nearest(some_points(truth, protocol.points))[0]
    errors = {
        "acc_mean": float(to_truth.mean()),
        "acc_median": float(np.median(to_truth)),
        "comp_mean": float(to_predicted.mean()),
        "comp_median": float(np.median(to_predicted)),
    }
    if protocol.normals != 0:
        forward = normal_agreement(predicted, truth, protocol.normals)
        backward = normal_agreement(truth, predicted, protocol.normals)
        errors["nc_mean"] = float(forward.mean() + backward.mean()) / 2
        errors["nc_median"] = float(np.median(forward) + np.median(backward)) / 2
    return errors


def some_points(cloud: SearchedCloud, most: int | None) -> Predicted:
    return cloud.points[evenly_spread(len(cloud.points), most)]


def normal_agreement(source: SearchedCloud, target: SearchedCloud, most: int | None) -> Float[np.ndarray, " kept"]:
    """|cosine| between the normals of at most so many points of the one cloud and of their nearest in the other."""
    kept = evenly_spread(len(source.points), most)
    nearest = target.nearest(source.points[kept])[1]
    return np.abs((target.normals[nearest] * source.normals[kept]).sum(-1))


def refine_by_icp(predicted: Predicted, truth: SearchedCloud, protocol: CloudProtocol = FULL_CLOUDS) -> Predicted:
    """The predicted cloud after rigid point-to-point ICP led by the protocol's points.

    Pairs farther than `truth.reach` do not count. Both clouds go to small_gicp centred and in units of that reach: its
    stopping rule is an absolute length, and the result must not depend on metres or millimetres.
    """
    if min(len(predicted), len(truth.points)) < FEWEST_POINTS:
        counts = f"{len(predicted)} and {len(truth.points)}"
        raise FgqError(f"the clouds have {counts} points; ICP needs at least {FEWEST_POINTS}")
    moving = truth.scaled(predicted)
    most = None if protocol.points is None else max(protocol.points, FEWEST_POINTS)
    motion = small_gicp.align(
        truth.fixed,
        small_gicp.PointCloud(moving[evenly_spread(len(moving), most)]),
        truth.tree,
        registration_type="ICP",
        max_correspondence_distance=1.0,
        num_threads=1,  # several add up in any order
        max_iterations=ICP_STEPS,
    ).T_target_source
    return (moving @ motion[:3, :3].T + motion[:3, 3]) * truth.reach + truth.centre


def icp_reach(unit: str, truth: Float[Tensor, "points 3"]) -> float:
    """Largest distance of a pair that pulls in ICP, in `unit`; points are in the first camera's frame."""
    return ICP_REACH.get(unit, ICP_SHARE * truth.norm(dim=-1).mean().item())
