"""Image and number files, as the datasets' own tools write them."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_image(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, format="PNG")  # whatever the suffix: lossless, so that pixels can be compared


def write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def rows(matrix: np.ndarray, digits: int = 9) -> str:
    return "\n".join(" ".join(f"{value:.{digits}e}" for value in row) for row in matrix) + "\n"
