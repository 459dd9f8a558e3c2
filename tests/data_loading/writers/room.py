"""Rendered rooms as plain arrays: what the writers put on disk, and the truth that a reader must give back."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from fgq.data.playroom import nearest_hit, render
from fgq.data.playroom_world import World, build_world, uniform_rows
from fgq.geometry import invert_extrinsics, pinhole


@dataclass(frozen=True)
class Room:
    """S frames in metres; the world is the room, in which no camera sits at the origin."""

    world: World
    images: np.ndarray  # [S, H, W, 3] uint8
    camera_from_room: np.ndarray  # [S, 3, 4]
    intrinsics: np.ndarray  # [S, 3, 3]
    depth: np.ndarray  # [S, H, W]
    fields: dict[str, torch.Tensor]  # of the Scene: first camera's frame, metres

    @property
    def height(self) -> int:
        return self.depth.shape[1]

    @property
    def width(self) -> int:
        return self.depth.shape[2]

    def camera44(self, frame: int) -> np.ndarray:
        return np.vstack([self.camera_from_room[frame], [0, 0, 0, 1]])

    def depth_along(self, frame: int, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """z-depth along the camera rays (u, v, 1), of any shape."""
        rays = np.stack([u, v, np.ones_like(u)], axis=-1).reshape(-1, 3)
        pose = self.world.world_from_camera[0, frame]
        directions = torch.from_numpy(rays).float() @ pose[:, :3].T
        depth, _, _ = nearest_hit(self.world, pose[:, 3].expand(len(rays), 3)[None], directions[None])
        return depth[0].numpy().reshape(u.shape)


def build_room(index: int, frames: int, height: int, width: int, focal=None, centre=None) -> Room:
    """Room number `index`; `focal` (x, y) and principal point `centre` (x, y) in pixels replace the playroom's own."""
    world = build_world(uniform_rows("test", 0, [index], frames), frames, height, width)
    if focal is not None:
        x, y = centre or (width / 2, height / 2)
        world = replace(world, intrinsics=pinhole(*torch.tensor(focal).expand(frames, 2).unbind(-1), x, y)[None])
    fields = {name: value[0] for name, value in render(world, height, width).items()}
    return Room(
        world=world,
        images=(fields["images"].permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy(),
        camera_from_room=invert_extrinsics(world.world_from_camera[0].double()).numpy(),
        intrinsics=world.intrinsics[0].double().numpy(),
        depth=fields["depth"].numpy(),
        fields=fields,
    )
