"""Point map errors after a similarity: matched points, and clouds by nearest neighbours both ways."""

import numpy as np
import small_gicp
import torch
from jaxtyping import Float
from scipy.spatial import cKDTree
from torch import Tensor

from fgq.geometry.alignment import align_similarity

Predicted = Float[np.ndarray, "predicted 3"]
Truth = Float[np.ndarray, "truth 3"]


def mean_point_error(predicted: Float[Tensor, "points 3"], truth: Float[Tensor, "points 3"]) -> float:
    """Mean distance of matched points after a Sim(3), over the mean distance of the true points from camera 0.

    Points are in the first camera's frame. No unit: 0.1 means a tenth of the scene's mean distance.
    """
    predicted, truth = predicted.double(), truth.double()
    aligned = align_similarity(predicted, truth).apply(predicted)
    return ((aligned - truth).norm(dim=-1).mean() / truth.norm(dim=-1).mean()).item()


def cloud_errors(
    predicted: Predicted, truth: Truth, predicted_normals: Predicted | None = None, truth_normals: Truth | None = None
) -> dict[str, float]:
    """Accuracy (predicted to true), completeness (true to predicted), mean and median, in the clouds' unit.

    With normals also their consistency: |cosine| between each point's normal and its nearest neighbour's.
    """
    to_truth, nearest_truth = cKDTree(truth).query(predicted)
    to_predicted, nearest_predicted = cKDTree(predicted).query(truth)
    errors = {
        "acc_mean": float(to_truth.mean()),
        "acc_median": float(np.median(to_truth)),
        "comp_mean": float(to_predicted.mean()),
        "comp_median": float(np.median(to_predicted)),
    }
    if predicted_normals is not None and truth_normals is not None:
        forward = np.abs((truth_normals[nearest_truth] * predicted_normals).sum(-1))
        backward = np.abs((truth_normals * predicted_normals[nearest_predicted]).sum(-1))
        errors |= {
            "nc1_mean": float(forward.mean()),
            "nc1_median": float(np.median(forward)),
            "nc2_mean": float(backward.mean()),
            "nc2_median": float(np.median(backward)),
        }
    return errors


def refine_by_icp(predicted: Predicted, truth: Truth, max_distance: float) -> Predicted:
    """The predicted cloud after rigid point-to-point ICP; pairs farther than `max_distance` do not count."""
    result = small_gicp.align(
        truth, predicted, registration_type="ICP", max_correspondence_distance=max_distance, num_threads=1
    )
    motion = result.T_target_source
    return predicted @ motion[:3, :3].T + motion[:3, 3]


def aligned_clouds(
    predicted: Float[Tensor, "points 3"], truth: Float[Tensor, "points 3"], most: int, icp_distance: float
) -> tuple[Float[np.ndarray, "kept 3"], Float[np.ndarray, "kept 3"]]:
    """Predicted cloud on the true one: Sim(3) on all matched points, then ICP on at most `most` of them.

    The points kept are spread evenly over the input's order, so they are the same for every model.
    """
    predicted, truth = predicted.double(), truth.double()
    aligned = align_similarity(predicted, truth).apply(predicted)
    kept = torch.linspace(0, len(truth) - 1, min(most, len(truth))).round().long()
    cloud, reference = aligned[kept].cpu().numpy(), truth[kept].cpu().numpy()
    return refine_by_icp(cloud, reference, icp_distance), reference
