from pathlib import Path

import numpy as np

from writers.files import rows, write_image, write_text
from writers.room import Room


def write(root: Path, scenes: dict[str, dict[str, Room]], unknown=None, depth_suffix="depth") -> None:
    """scenes[chess][seq-01]; `unknown` is a mask [H, W] whose pixels get the code for unknown depth."""
    for scene, sequences in scenes.items():
        lines = "".join(f"sequence{int(name[4:])}\n" for name in sequences)
        write_text(root / scene / "TestSplit.txt", lines)
        write_text(root / scene / "TrainSplit.txt", "sequence20\n")
        for name, room in sequences.items():
            for frame in range(len(room.images)):
                stem = root / scene / name / f"frame-{frame:06d}"
                write_image(Path(f"{stem}.color.png"), room.images[frame])
                millimetres = np.round(room.depth[frame] * 1000).astype(np.uint16)
                if unknown is not None:
                    millimetres[unknown] = 65535
                write_image(Path(f"{stem}.{depth_suffix}.png"), millimetres)
                write_text(Path(f"{stem}.pose.txt"), rows(np.linalg.inv(room.camera44(frame))))
