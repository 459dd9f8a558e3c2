from pathlib import Path

import numpy as np

from writers.files import write_image, write_text
from writers.room import Room


def codes(depth: np.ndarray) -> np.ndarray:
    """Metres × 256; every third column was hit by no laser."""
    found = np.round(depth * 256).astype(np.uint16)
    found[:, ::3] = 0
    return found


def integer_centred(room: Room, frame: int) -> np.ndarray:
    matrix = room.intrinsics[frame].copy()
    matrix[:2, 2] -= 0.5
    return matrix


def write_selection(root: Path, room: Room, drive="2011_09_26_drive_0002_sync") -> None:
    """Every frame of the room is a selected image of its own."""
    folder = root / "depth_selection" / "val_selection_cropped"
    for frame in range(len(room.images)):
        name = f"{5 + 3 * frame:010d}_image_02"
        write_image(folder / "image" / f"{drive}_image_{name}.png", room.images[frame])
        write_image(folder / "groundtruth_depth" / f"{drive}_groundtruth_depth_{name}.png", codes(room.depth[frame]))
        numbers = " ".join(f"{value:.9e}" for value in integer_centred(room, frame).flatten())
        write_text(folder / "intrinsics" / f"{drive}_image_{name}.txt", numbers + "\n")


def write_video(root: Path, drives: dict[str, Room]) -> None:
    """As in the archive, the first five raw frames have no depth."""
    for drive, room in drives.items():
        day = root / drive[:10]
        for frame in range(len(room.images)):
            name = f"{5 + frame:010d}.png"
            write_image(day / drive / "image_02" / "data" / name, room.images[frame])
            truth = root / "val" / drive / "proj_depth" / "groundtruth" / "image_02"
            write_image(truth / name, codes(room.depth[frame]))
        for early in range(5):
            shifted = np.roll(room.images[0], early + 1, axis=1)
            write_image(day / drive / "image_02" / "data" / f"{early:010d}.png", shifted)
        projection = np.hstack([integer_centred(room, 0), [[45.0], [0.2], [0.002]]])
        numbers = " ".join(f"{value:.9e}" for value in projection.flatten())
        size = f"{room.width:.6e} {room.height:.6e}"
        text = f"calib_time: 09-Jan-2012 13:57:47\nS_rect_02: {size}\nP_rect_02: {numbers}\n"
        write_text(day / "calib_cam_to_cam.txt", text)
