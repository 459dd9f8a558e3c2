from pathlib import Path

import numpy as np

from writers.files import rows, write_image, write_text
from writers.room import Room


def write(root: Path, scans: dict[str, Room], light=3) -> None:
    """All scans share their cameras, as a robot arm repeats its positions: give them rooms with the same cameras."""
    for name, room in scans.items():
        for view in range(len(room.images)):
            write_image(root / "Rectified" / name / f"rect_{view + 1:03d}_{light}_r5000.png", room.images[view])
            folder = root / "Depths_raw" / name
            millimetres = room.depth[view] * 1000
            millimetres[:2] = 0
            write_pfm(folder / f"depth_map_{view:04d}.pfm", millimetres)
            write_image(folder / f"depth_visual_{view:04d}.png", np.where(millimetres > 0, 255, 0).astype(np.uint8))
            motion, matrix = room.camera44(view), room.intrinsics[view].copy()
            motion[:3, 3] *= 1000
            matrix[:2, 2] -= 0.5  # MVSNet counts pixels from the first one's centre
            text = f"extrinsic\n{rows(motion)}\nintrinsic\n{rows(matrix)}\n425.0 2.5\n"
            write_text(root / "Cameras" / f"{view:08d}_cam.txt", text)


def write_pfm(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = values.shape
    head = f"Pf\n{width} {height}\n-1.000000\n".encode()
    path.write_bytes(head + np.flipud(values).astype("<f4").tobytes())
