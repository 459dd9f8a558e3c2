"""The playroom: rendered rooms with exact images, depth, points and cameras.

Every ray is intersected with the room, its boxes and its spheres in closed form, so the truth has no error but
rounding. A scene is a function of (split, seed, index); see `playroom_world` for what is drawn.
"""

import torch
from torch import Tensor

from fgq.data.images import check_sides
from fgq.data.loaded import LoadedScenes
from fgq.data.playroom_world import NUM_BOXES, NUM_OBJECTS, World, build_world, turned, uniform_rows, wall_hit
from fgq.data.sampling import About, FrameList, Rule, check_whole
from fgq.data.scene import Scene
from fgq.errors import FgqError
from fgq.geometry import invert_extrinsics, pixel_rays, relative_to_first, transform_points

CHECKER = 0.5  # metres a square on walls, floor and ceiling
LIGHT = (0.35, -0.8, 0.5)  # direction towards the light, in room axes
# Two tones of each face; the order is -x, +x, ceiling (-y), floor (+y), -z, +z.
FACE_TONES = (
    ((0.85, 0.25, 0.20), (0.60, 0.12, 0.10)),
    ((0.20, 0.70, 0.30), (0.10, 0.45, 0.18)),
    ((0.92, 0.92, 0.95), (0.75, 0.75, 0.80)),
    ((0.55, 0.42, 0.30), (0.38, 0.28, 0.20)),
    ((0.20, 0.35, 0.85), (0.10, 0.20, 0.58)),
    ((0.90, 0.80, 0.25), (0.68, 0.58, 0.12)),
)
MOST_PIXELS = 10**9  # some 36 GB of pictures, depth and points, and hours
FACE_TINT = 0.12  # how much the colour drifts from one edge of a face to the other


def load(
    split: str = "test", count: int = 1, frames: int = 4, seed: int = 0, size=64, motion: float = 1.0
) -> LoadedScenes:
    """`count` scenes of `frames` frames; `size` is a side in pixels or (height, width).

    Raises FgqError for what cannot be, and for more than MOST_PIXELS of all pictures together.
    """
    DATASET.check_split(split)
    for name, value, least in (("count", count, 1), ("frames", frames, 1), ("seed", seed, 0)):
        check_whole(value, f"playroom: {name}", least)
    height, width = check_sides(size)
    if count * frames * height * width > MOST_PIXELS:
        raise FgqError(
            f"playroom: {count} scenes of {frames} frames of {width} × {height} are more than {MOST_PIXELS} pixels: "
            "ask for fewer scenes or frames, or a smaller size"
        )
    scenes = []
    for index in range(count):
        batch = render_scenes(split, [index], frames, (height, width), seed, motion)
        name = f"playroom-{split}-{seed}-{index:05d}"
        about = {"name": name, "unit": "metre", "dataset": "playroom", "split": split, "sequence": name}
        scenes.append(Scene(**about, **{field: value[0] for field, value in batch.items()}))
    ids = tuple(f"{frame}" if motion == 1 else f"{frame} at motion {motion:g}" for frame in range(frames))
    listed = {scene.name: ids for scene in scenes}
    return LoadedScenes(scenes, FrameList("playroom", split, str(DATASET.rules[split]), seed, listed))


def render_scenes(
    split: str, indices: list[int], frames: int, size: tuple[int, int], seed: int = 0, motion: float = 1.0
) -> dict[str, Tensor]:
    """The named scenes as one batch of `Scene` fields, each [B, S, …]."""
    draws = uniform_rows(split, seed, indices, frames)
    return render(build_world(draws, frames, *size, motion), *size)


def render(world: World, height: int, width: int) -> dict[str, Tensor]:
    """Fields of B scenes, in the frame of each scene's first camera; metres."""
    poses = world.world_from_camera
    batch, frames = poses.shape[:2]
    rays = pixel_rays(world.intrinsics, height, width).flatten(2, 3)  # [B, S, P, 3], z = 1
    directions = (rays @ poses[..., :3].transpose(-2, -1)).flatten(1, 2)  # [B, S * P, 3]
    origins = poses[..., None, :, 3].expand(-1, -1, height * width, -1).flatten(1, 2)
    depth, which, axis = nearest_hit(world, origins, directions)
    position = origins + depth[..., None] * directions
    colour = torch.where(
        (which == NUM_OBJECTS)[..., None],
        face_colour(position, directions, axis, world.room_half),
        object_colour(world, position, directions, which, axis),
    )
    depth = depth.view(batch, frames, height, width)
    room_points = position.view(batch, frames, height, width, 3)
    camera_from_room = invert_extrinsics(poses)
    to_first = camera_from_room[:, :1].expand(-1, frames, -1, -1)
    return {
        "images": colour.view(batch, frames, height, width, 3).permute(0, 1, 4, 2, 3).contiguous(),
        "extrinsics": relative_to_first(camera_from_room),
        "intrinsics": world.intrinsics.contiguous(),
        "depth": depth,
        "points": transform_points(to_first, room_points),
        "valid": torch.isfinite(depth) & (depth > 0),
    }


def nearest_hit(world: World, origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Ray parameter (the z-depth), object hit (NUM_OBJECTS for the room) and axis of the face hit: [B, rays] each."""
    nearest, axis = wall_hit(origins, directions, world.room_half[:, None])
    which = torch.full_like(axis, NUM_OBJECTS)
    for k in range(NUM_OBJECTS):
        hit, face = (hit_box if k < NUM_BOXES else hit_sphere)(world, k, origins, directions)
        closer = (hit < nearest) & world.present[:, k, None]
        nearest = torch.where(closer, hit, nearest)
        which = torch.where(closer, k, which)
        axis = torch.where(closer, face, axis)
    return nearest, which, axis


def hit_box(world: World, k: int, origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Slab test: a ray is inside from its last entry to its first exit."""
    yaw = world.yaw[:, k, None]
    local = turned(origins - world.centre[:, None, k], yaw)
    ray = turned(directions, yaw)
    inverse = 1 / torch.where(ray.abs() < 1e-9, torch.full_like(ray, 1e-9), ray)
    middle, reach = -local * inverse, world.half[:, None, k] * inverse.abs()
    entry, axis = (middle - reach).max(dim=-1)
    hit = (entry < (middle + reach).amin(dim=-1)) & (entry > 0)
    return torch.where(hit, entry, torch.inf), axis


def hit_sphere(world: World, k: int, origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    offset = origins - world.centre[:, None, k]
    a = directions.square().sum(-1)
    b = (offset * directions).sum(-1)
    c = offset.square().sum(-1) - world.half[:, k, None, 0].square()
    discriminant = b.square() - a * c
    entry = (-b - discriminant.clamp(min=0).sqrt()) / a
    hit = (discriminant > 0) & (entry > 0)
    return torch.where(hit, entry, torch.inf), torch.zeros_like(entry, dtype=torch.long)


def face_colour(position: Tensor, directions: Tensor, axis: Tensor, room_half: Tensor) -> Tensor:
    """Checkers in the face's two tones, drifting along the face so that no two squares are alike: [B, rays, 3]."""
    positive = torch.gather(directions, -1, axis[..., None])[..., 0] > 0
    tones = torch.tensor(FACE_TONES, dtype=position.dtype, device=position.device)[2 * axis + positive.long()]
    off_axis = torch.arange(3, device=axis.device) != axis[..., None]
    cell = torch.where(off_axis, ((position + 100 * CHECKER) / CHECKER).floor(), torch.zeros_like(position))
    odd = cell.sum(-1, keepdim=True) % 2
    along = torch.where(off_axis, position / room_half[:, None], torch.zeros_like(position))
    return (tones[..., 0, :] * (1 - odd) + tones[..., 1, :] * odd + FACE_TINT * along).clamp(0, 1)


def object_colour(world: World, position: Tensor, directions: Tensor, which: Tensor, axis: Tensor) -> Tensor:
    """Two-toned cells in the object's own axes, shaded by one distant light: [B, rays, 3]."""
    index = which.clamp(max=NUM_OBJECTS - 1)

    def of_hit(values: Tensor) -> Tensor:
        flat = values.flatten(2)
        return torch.gather(flat, 1, index[..., None].expand(-1, -1, flat.shape[2])).unflatten(2, values.shape[2:])

    yaw = torch.gather(world.yaw, 1, index)
    local = turned(position - of_hit(world.centre), yaw) / of_hit(world.half)
    odd = ((local * of_hit(world.pattern) + 100.25).floor().sum(-1, keepdim=True)) % 2
    colours = of_hit(world.colours)
    base = colours[..., 0, :] * (1 - odd) + colours[..., 1, :] * odd
    facing = torch.nn.functional.one_hot(axis, 3) * -turned(directions, yaw).sign()
    normal = torch.where((index < NUM_BOXES)[..., None], turned(facing, -yaw), local)
    light = torch.nn.functional.normalize(torch.tensor(LIGHT, dtype=position.dtype, device=position.device), dim=0)
    return (base * (0.55 + 0.45 * (normal @ light).clamp(min=0))[..., None]).clamp(0, 1)


DATASET = About(
    name="playroom",
    unit="metre",
    needs="nothing: it is rendered",
    licence="Apache-2.0, as fgq",
    rules={split: Rule("all") for split in ("test", "calibration", "validation", "train")},
    published={},
    calibration="rooms that no other split draws",
    choices={},
)
