"""How far a quantized model's outputs moved from the full-precision model's on the same images.

Accuracy hides small moves: a prediction may move without getting worse. These measures need no ground truth.
"""

from fgq.errors import FgqError
from fgq.geometry import decode_pose
from fgq.metrics.pose import rotation_angle
from fgq.vggt import Predictions


def deviations(moved: Predictions, reference: Predictions) -> dict[str, float]:
    """Of one clip (batch size 1), means over frames and pixels.

    `deviation_rotation` in degrees; `deviation_translation` over the mean length of the reference's translations;
    `deviation_depth` relative to the reference's depth; `deviation_points` over the mean distance of its points.
    Where the reference has no translation at all, the deviation from it is 0 if there is none here either; otherwise
    FgqError, since no length is left to measure it in.
    """
    size = reference.depth.shape[2:4]
    mine, _ = decode_pose(moved.pose_enc.double(), size)
    theirs, _ = decode_pose(reference.pose_enc.double(), size)
    depth, points = reference.depth.double(), reference.world_points.double()
    shift = (mine[..., 3] - theirs[..., 3]).norm(dim=-1).mean().item()
    length = theirs[..., 3].norm(dim=-1).mean().item()
    if shift and not length:
        raise FgqError("the reference's cameras all stand at the origin: no length to measure a shift of them in")
    return {
        "deviation_rotation": rotation_angle(mine[..., :3], theirs[..., :3]).mean().item(),
        "deviation_translation": shift / length if shift else 0.0,
        "deviation_depth": ((moved.depth.double() - depth).abs() / depth).mean().item(),
        "deviation_points": (
            (moved.world_points.double() - points).norm(dim=-1).mean() / points.norm(dim=-1).mean()
        ).item(),
    }
