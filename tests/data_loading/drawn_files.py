"""Files and folders of a download, drawn at random."""

from pathlib import Path

import numpy as np


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def folders(root: Path) -> list[Path]:
    return [root, *sorted(path for path in root.rglob("*") if path.is_dir())]


def draw(items: list, generator: np.random.Generator):
    return items[generator.integers(len(items))] if items else None


def texts(root: Path) -> list[Path]:
    return [path for path in files(root) if path.suffix == ".txt"]


def raw_depths(root: Path) -> list[Path]:
    return [path for path in files(root) if path.suffix == ".pfm" or "ground_truth_depth" in path.parts]


def is_image(path: Path) -> bool:
    return path.suffix in (".png", ".jpg", ".JPG") and path.read_bytes()[:4] == b"\x89PNG"
