"""Accuracy of a model on held-out scenes while it trains."""

import torch

from fgq.data.playroom import render_scenes
from fgq.geometry import compose_extrinsics, decode_pose, invert_extrinsics
from fgq.vggt import VGGT


@torch.no_grad()
def validate(model: VGGT, count: int, frames: int, split: str = "validation", batch: int = 16) -> dict[str, float]:
    """Medians over frame pairs and means over scenes; metres against metres, degrees, depth after median scale."""
    rotation, translation, depth, points = [], [], [], []
    for start in range(0, count, batch):
        scenes = render_scenes(split, list(range(start, min(count, start + batch))), frames, (64, 64))
        predicted = model(scenes["images"])
        extrinsics, _ = decode_pose(predicted.pose_enc, scenes["images"].shape[-2:])
        for i in range(frames):
            for j in range(i + 1, frames):
                a = compose_extrinsics(extrinsics[:, j], invert_extrinsics(extrinsics[:, i]))
                b = compose_extrinsics(scenes["extrinsics"][:, j], invert_extrinsics(scenes["extrinsics"][:, i]))
                trace = (a[..., :3] * b[..., :3]).sum((-1, -2))
                rotation.append(torch.rad2deg(((trace - 1) / 2).clamp(-1, 1).acos()))
                cosine = torch.nn.functional.cosine_similarity(a[..., 3], b[..., 3], dim=-1)
                angle = torch.rad2deg(cosine.clamp(-1, 1).acos())
                translation.append(torch.minimum(angle, 180 - angle))
        truth, guess = scenes["depth"].flatten(1), predicted.depth[..., 0].flatten(1)
        scale = truth.median(dim=1).values / guess.median(dim=1).values
        depth.append(((guess * scale[:, None] - truth).abs() / truth).mean(1))
        error = (predicted.world_points - scenes["points"]).norm(dim=-1).flatten(1).mean(1)
        points.append(error / scenes["points"].norm(dim=-1).flatten(1).mean(1))
    rotation, translation = torch.cat(rotation), torch.cat(translation)
    worst = torch.maximum(rotation, translation)
    return {
        "rotation_median_deg": rotation.median().item(),
        "translation_median_deg": translation.median().item(),
        "auc30": 100 * torch.stack([(worst < t).float().mean() for t in range(1, 31)]).mean().item(),
        "abs_rel": torch.cat(depth).mean().item(),
        "point_error": torch.cat(points).mean().item(),
    }
