"""The playroom's world: rooms, objects and cameras, each scene drawn from one row of uniform numbers.

Room axes are OpenCV's (x right, y down, z forward), origin at the room's centre, lengths in metres. The four walls,
floor and ceiling keep their colours in every room, so a picture tells where in the room it was taken; the objects
differ in every room, so it does not tell what stands there.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fgq.geometry import pinhole

SPLITS = ("train", "validation", "calibration", "test")  # the position is part of every scene's seed: append only
NUM_BOXES = 3
NUM_SPHERES = 2
NUM_OBJECTS = NUM_BOXES + NUM_SPHERES
CANDIDATES = 24  # camera poses tried for each further frame
OBJECT_DRAWS = 16  # uniform numbers an object uses
ROOM_DRAWS = 16
CAMERA_DRAWS = 8

OVERLAP_RANGE = (0.3, 0.7)  # share of a frame's view directions whose wall points the first frame sees
BASELINE_RANGE = (0.4, 0.8)  # distance from the first camera, in mean distances from camera to surface


@dataclass(frozen=True)
class World:
    """B scenes of S frames."""

    room_half: Tensor  # [B, 3] half extents
    centre: Tensor  # [B, K, 3] of objects, boxes first
    half: Tensor  # [B, K, 3] half extents; a sphere's are its radius three times
    yaw: Tensor  # [B, K] about the vertical axis
    present: Tensor  # [B, K] bool
    colours: Tensor  # [B, K, 2, 3] the two tones of each object's pattern
    pattern: Tensor  # [B, K, 3] cells of the pattern for each half extent
    world_from_camera: Tensor  # [B, S, 3, 4] camera poses in the room
    intrinsics: Tensor  # [B, S, 3, 3] pixels


def draws_a_scene(frames: int) -> list[int]:
    """Of the room, its objects, the first camera and the candidates for the others."""
    return [ROOM_DRAWS, NUM_OBJECTS * OBJECT_DRAWS, CAMERA_DRAWS, (frames - 1) * CANDIDATES * CAMERA_DRAWS]


def uniform_rows(split: str, seed: int, indices: list[int], frames: int) -> Tensor:
    """One row of uniform numbers a scene, a function of (split, seed, index) alone: [B, draws]."""
    seeds, number = [[SPLITS.index(split), seed, index] for index in indices], sum(draws_a_scene(frames))
    return torch.from_numpy(np.stack([np.random.default_rng(s).random(number, dtype=np.float32) for s in seeds]))


def build_world(draws: Tensor, frames: int, height: int, width: int, motion: float = 1.0) -> World:
    """Rows of uniform numbers [B, draws] to scenes. `motion` below 1 shrinks what the cameras move and turn."""
    room, objects, first, others = draws.split(draws_a_scene(frames), dim=1)
    room_half = between_each(room, (2.0, 2.4), (1.25, 1.4), (2.0, 2.4))
    fov = between(room[:, 3], 60.0, 75.0).deg2rad()  # along the shorter side, the same for all frames of a scene
    focal = (min(height, width) / 2 / torch.tan(fov / 2))[:, None].expand(-1, frames)
    others = others.unflatten(1, (frames - 1, CANDIDATES, CAMERA_DRAWS))
    return World(
        room_half=room_half,
        world_from_camera=build_cameras(first, others, room, room_half, fov, motion),
        intrinsics=pinhole(focal, focal, width / 2, height / 2),
        **build_objects(objects.unflatten(1, (NUM_OBJECTS, OBJECT_DRAWS)), room_half),
    )


def between(uniform: Tensor, low, high) -> Tensor:
    return low + (high - low) * uniform


def between_each(uniform: Tensor, *ranges: tuple[float, float]) -> Tensor:
    """The first of the columns [..., columns], each in its own range: [..., ranges]."""
    return torch.stack([between(uniform[..., k], *both) for k, both in enumerate(ranges)], dim=-1)


def build_objects(draws: Tensor, room_half: Tensor) -> dict[str, Tensor]:
    """Boxes and spheres standing on the floor, all lower than any camera."""
    half = between_each(draws, (0.15, 0.45), (0.15, 0.5), (0.15, 0.45))
    is_sphere = torch.arange(NUM_OBJECTS, device=draws.device) >= NUM_BOXES
    half = torch.where(is_sphere[None, :, None], between(draws[..., 1:2], 0.2, 0.45).expand_as(half), half)
    x, z = (between_each(draws[..., 3:], (-0.75, 0.75), (-0.75, 0.75)) * room_half[:, None, [0, 2]]).unbind(-1)
    return {
        "centre": torch.stack([x, room_half[:, None, 1] - half[..., 1], z], dim=-1),
        "half": half,
        "yaw": between(draws[..., 5], -torch.pi / 4, torch.pi / 4),
        "present": draws[..., 6] < 0.85,
        "colours": draws[..., 7:13].unflatten(-1, (2, 3)),
        "pattern": between(draws[..., 13:16], 0.5, 2.0),
    }


def look_at(position: Tensor, target: Tensor, roll: Tensor) -> Tensor:
    """World-from-camera [..., 3, 4] at `position`, looking at `target`, turned by `roll` radians about its axis."""
    forward = torch.nn.functional.normalize(target - position, dim=-1)
    down = torch.zeros_like(forward)
    down[..., 1] = 1
    right = torch.nn.functional.normalize(torch.linalg.cross(down, forward, dim=-1), dim=-1)
    below = torch.linalg.cross(forward, right, dim=-1)
    cos, sin = roll.cos()[..., None], roll.sin()[..., None]
    axes = [cos * right + sin * below, cos * below - sin * right, forward]
    return torch.stack([*axes, position], dim=-1)


def build_cameras(first: Tensor, others: Tensor, room: Tensor, room_half: Tensor, fov: Tensor, motion: float) -> Tensor:
    """World-from-camera of all frames: [B, S, 3, 4].

    All cameras look near one focus in the room. A further frame is the first of its candidates whose baseline and
    overlap with frame 0 lie in their ranges, or the one that misses them least.
    """
    focus = between_each(room[:, 4:], (-0.5, 0.5), (0.1, 0.8), (-0.5, 0.5)) * room_half
    heading = between(room[:, 7], -torch.pi, torch.pi)
    start = camera_position(first, focus, heading, room_half, reach=(1.2, 2.4))
    pose = look_at(start, focus + 0.3 * (2 * first[..., 2:5] - 1), 0.1 * (2 * first[..., 5] - 1))
    if others.shape[1] == 0:
        return pose[:, None]
    turn = motion * between(others[..., 0], -1.5, 1.5)  # radians about the focus
    wide = camera_position(
        others, focus[:, None, None], heading[:, None, None] + turn, room_half[:, None, None], (1.0, 2.6)
    )
    position = start[:, None, None] + motion * (wide - start[:, None, None])
    target = focus[:, None, None] + motion * 0.6 * (2 * others[..., 2:5] - 1)
    candidates = look_at(position, target, 0.1 * (2 * others[..., 5] - 1))  # [B, S - 1, candidates, 3, 4]
    miss = pose_misfit(pose, candidates, room_half, fov, motion)
    best = miss.argmin(dim=-1)  # the first of equals
    index = best[..., None, None, None].expand(*best.shape, 1, 3, 4)
    return torch.cat([pose[:, None], torch.gather(candidates, 2, index)[:, :, 0]], dim=1)


def camera_position(
    draws: Tensor, focus: Tensor, heading: Tensor, room_half: Tensor, reach: tuple[float, float]
) -> Tensor:
    """On a ring about the focus, at standing height, kept inside the room."""
    radius = between(draws[..., 1], *reach)
    limit = 0.82 * room_half
    x = (focus[..., 0] - radius * heading.sin()).clamp(-limit[..., 0], limit[..., 0])
    z = (focus[..., 2] - radius * heading.cos()).clamp(-limit[..., 2], limit[..., 2])
    y = between(draws[..., 6], -0.7, 0.0) * room_half[..., 1]
    return torch.stack([x, y, z], dim=-1)


def pose_misfit(pose: Tensor, candidates: Tensor, room_half: Tensor, fov: Tensor, motion: float) -> Tensor:
    """How far each candidate's baseline and overlap lie outside their ranges: [B, S - 1, candidates], 0 inside."""
    tangent = (fov / 2).tan()
    steps = torch.linspace(-0.85, 0.85, 5, device=pose.device)
    grid = torch.stack(
        [*torch.meshgrid(steps, steps, indexing="ij"), torch.ones(5, 5, device=pose.device)], -1
    ).flatten(0, 1)
    rays = grid * torch.stack([tangent, tangent, torch.ones_like(tangent)], -1)[:, None]  # [B, 25, 3]
    directions = torch.einsum("bscij,bpj->bscpi", candidates[..., :3], rays)
    origin = candidates[..., None, :, 3]
    distance, _ = wall_hit(origin, directions, room_half[:, None, None, None])
    points = origin + distance[..., None] * directions
    seen = torch.einsum("bij,bscpi->bscpj", pose[..., :3], points - pose[:, None, None, None, :, 3])
    ahead = seen[..., 2] > 0.1
    inside = (seen[..., :2].abs() <= (tangent[:, None, None, None] * seen[..., 2])[..., None]).all(-1)
    overlap = (ahead & inside).float().mean(-1)
    mean_distance = (distance * directions.norm(dim=-1)).mean(-1)
    baseline = (candidates[..., 3] - pose[:, None, None, :, 3]).norm(dim=-1) / mean_distance
    low, high = (motion * bound for bound in BASELINE_RANGE)
    far = (low - baseline).clamp(min=0) + (baseline - high).clamp(min=0)
    upper = OVERLAP_RANGE[1] if motion == 1.0 else 1.0
    return far + 2 * ((OVERLAP_RANGE[0] - overlap).clamp(min=0) + (overlap - upper).clamp(min=0))


def wall_hit(origin: Tensor, directions: Tensor, room_half: Tensor) -> tuple[Tensor, Tensor]:
    """Ray parameter at which rays from inside the room leave it, and through a face of which axis: [...] each."""
    safe = torch.where(directions.abs() < 1e-9, torch.full_like(directions, 1e-9), directions)
    return ((safe.sign() * room_half - origin) / safe).min(dim=-1)


def turned(vectors: Tensor, yaw: Tensor) -> Tensor:
    """Vectors [..., 3] in axes turned by `yaw` [...] about the vertical."""
    cos, sin = yaw.cos(), yaw.sin()
    x, y, z = vectors.unbind(-1)
    return torch.stack([cos * x - sin * z, y, sin * x + cos * z], dim=-1)
