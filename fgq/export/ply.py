"""Coloured points as PLY, which MeshLab, CloudCompare and Blender open."""

from pathlib import Path

import numpy as np

from fgq.export.reconstruction import Cloud

LAYOUT = [(axis, "<f4") for axis in "xyz"] + [(colour, "u1") for colour in ("red", "green", "blue")]
LAYOUT += [("confidence", "<f4")]
PLY_TYPES = {"<f4": "float", "u1": "uchar"}


def write_ply(cloud: Cloud, path: Path) -> None:
    """Binary little-endian PLY: x, y, z in world coordinates (y down), red, green, blue, confidence."""
    vertices = np.empty(len(cloud), dtype=LAYOUT)
    for column, axis in enumerate("xyz"):
        vertices[axis] = cloud.points[:, column]
    for column, colour in enumerate(("red", "green", "blue")):
        vertices[colour] = cloud.colours[:, column]
    vertices["confidence"] = cloud.confidence
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(cloud)}"]
    header += [f"property {PLY_TYPES[kind]} {name}" for name, kind in LAYOUT] + ["end_header"]
    with path.open("wb") as file:
        file.write("".join(f"{line}\n" for line in header).encode("ascii"))
        file.write(vertices.tobytes())
