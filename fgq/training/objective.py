"""What vggt-tiny learns from: camera, depth and point losses with learned confidence (arXiv:2503.11651, section 3)."""

import torch
from torch import Tensor

from fgq.geometry import encode_pose
from fgq.vggt import Predictions

ITERATION_DECAY = 0.6  # weight of a camera iteration against the one after it
CONFIDENCE_REWARD = 0.2  # the weight of log confidence: a confident pixel pays for its error, an unsure one for doubt
POSE_WEIGHTS = {"translation": 1.0, "quaternion": 3.0, "field of view": 1.0}


def camera_loss(predictions: Predictions, scenes: dict[str, Tensor]) -> Tensor:
    """L1 distance of every iteration's pose encoding [B, S, 9] from the truth; translation in metres."""
    truth = encode_pose(scenes["extrinsics"], scenes["intrinsics"], scenes["images"].shape[-2:])
    weights = truth.new_tensor([POSE_WEIGHTS["translation"]] * 3 + [POSE_WEIGHTS["quaternion"]] * 4)
    weights = torch.cat([weights, truth.new_tensor([POSE_WEIGHTS["field of view"]] * 2)])
    total, share = truth.new_zeros(()), 0.0
    for distance, pose in enumerate(reversed(predictions.pose_enc_list)):
        total = total + ITERATION_DECAY**distance * ((pose.float() - truth).abs() * weights).sum(-1).mean()
        share += ITERATION_DECAY**distance
    return total / share


def dense_loss(error: Tensor, confidence: Tensor, valid: Tensor) -> Tensor:
    """Mean over valid pixels of e + c·e − α·log c: the confidence c that serves best is α / e."""
    pixels = error + confidence * error - CONFIDENCE_REWARD * confidence.log()
    return torch.where(valid, pixels, 0).sum() / valid.sum()


def depth_loss(predictions: Predictions, scenes: dict[str, Tensor]) -> Tensor:
    error = (predictions.depth[..., 0].float() - scenes["depth"]).abs()
    return dense_loss(error, predictions.depth_conf.float(), scenes["valid"])


def points_loss(predictions: Predictions, scenes: dict[str, Tensor]) -> Tensor:
    error = (predictions.world_points.float() - scenes["points"]).norm(dim=-1)
    return dense_loss(error, predictions.world_points_conf.float(), scenes["valid"])


LOSSES = {"camera": camera_loss, "depth": depth_loss, "points": points_loss}
