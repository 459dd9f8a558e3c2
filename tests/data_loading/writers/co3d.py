import gzip
import json
from pathlib import Path

import numpy as np

from writers.files import write_image
from writers.room import Room


def write(root: Path, categories: dict[str, dict[str, Room]], scale=1.25, kind="ndc_isotropic") -> None:
    """categories[apple][sequence]; frames are numbered from 1. The left third of a depth mask says: do not trust."""
    for category, sequences in categories.items():
        entries, listed = [], []
        for name, room in sequences.items():
            for frame in range(len(room.images)):
                stem = f"{category}/{name}/{{}}/frame{frame + 1:06d}"
                paths = {
                    "image": stem.format("images") + ".jpg",
                    "depth": stem.format("depths") + ".jpg.geometric.png",
                    "trust": stem.format("depth_masks") + ".png",
                    "mask": stem.format("masks") + ".png",
                }
                write_image(root / paths["image"], room.images[frame])
                write_image(root / paths["depth"], (room.depth[frame] / scale).astype(np.float16).view(np.uint16))
                trust = np.full((room.height, room.width), 255, np.uint8)
                trust[:, : room.width // 3] = 0
                write_image(root / paths["trust"], trust)
                mask = np.zeros((room.height, room.width), np.uint8)
                mask[: room.height // 2] = 200
                write_image(root / paths["mask"], mask)
                entries.append(
                    {
                        "sequence_name": name,
                        "frame_number": frame + 1,
                        "image": {"path": paths["image"], "size": [room.height, room.width]},
                        "depth": {"path": paths["depth"], "scale_adjustment": scale, "mask_path": paths["trust"]},
                        "mask": {"path": paths["mask"], "mass": float(mask.sum())},
                        "viewpoint": pytorch3d_camera(room, frame, kind),
                    }
                )
                listed.append([name, frame + 1, paths["image"]])
        write_annotations(root / category / "frame_annotations.jgz", entries)
        lists = root / category / "set_lists"
        lists.mkdir()
        (lists / "set_lists_fewview_dev.json").write_text(json.dumps({"train": [], "val": [], "test": listed}))


def write_annotations(path: Path, entries: list) -> None:
    path.write_bytes(gzip.compress(json.dumps(entries).encode(), 1))


def read_annotations(path: Path) -> list:
    return json.loads(gzip.decompress(path.read_bytes()))


def pytorch3d_camera(room: Room, frame: int, kind: str) -> dict:
    """The camera that maps a point as PyTorch3D does: row vectors, x left, y up, coordinates from 1 to −1."""
    columns = room.camera_from_room[frame]
    flip = np.array([-1, -1, 1])
    halves = np.array([room.width / 2, room.height / 2])
    units = np.full(2, min(halves)) if kind == "ndc_isotropic" else halves
    matrix = room.intrinsics[frame]
    return {
        "R": (columns[:, :3].T * flip).tolist(),
        "T": (columns[:, 3] * flip).tolist(),
        "focal_length": (np.array([matrix[0, 0], matrix[1, 1]]) / units).tolist(),
        "principal_point": ((halves - matrix[:2, 2]) / units).tolist(),
        "intrinsics_format": kind,
    }
