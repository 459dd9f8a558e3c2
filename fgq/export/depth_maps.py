"""Depth and confidence maps: 16-bit PNG with a scale each, or one compressed npz."""

from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from fgq.export.reconstruction import Reconstruction

FORMATS = ("png", "npz")
LEVELS = 65535


def write_png(values: Tensor, valid: Tensor, path: Path) -> float:
    """Positive values [H, W] as codes 1 … 65535, 0 where not valid; returns the scale: value = code * scale.

    The scale is in the file too, as the text field "scale". The error is at most half a scale; a valid value below
    that is stored as code 1, so that 0 always means that there is none.
    """
    top = float(values[valid].max()) if valid.any() else 1.0
    scale = top / LEVELS
    codes = (values / scale).where(valid, 0.0).round().clamp(min=0, max=LEVELS)
    codes = codes.where(~valid, codes.clamp(min=1)).numpy().astype(np.uint16)
    note = PngInfo()
    note.add_text("scale", repr(scale))
    Image.fromarray(codes).save(path, pnginfo=note)
    return scale


def write_maps(scene: Reconstruction, names: list[str], folder: Path) -> list[dict]:
    """depth/NAME.png and confidence/NAME.png for every frame; returns their paths (relative) and scales."""
    entries = []
    for frame, name in enumerate(names):
        entry = {}
        for kind, values in (("depth", scene.depth), ("confidence", scene.depth_confidence)):
            (folder / kind).mkdir(exist_ok=True)
            file = Path(kind) / f"{name}.png"
            entry[kind] = file.as_posix()
            entry[f"{kind}_scale"] = write_png(values[frame], scene.valid[frame], folder / file)
        entries.append(entry)
    return entries


def write_npz(scene: Reconstruction, names: list[str], path: Path) -> None:
    """float32 depth, depth_confidence [S, H, W], points [S, H, W, 3], points_confidence, bool valid, and names [S]."""
    arrays = {"depth": scene.depth, "depth_confidence": scene.depth_confidence}
    arrays |= {"points": scene.points, "points_confidence": scene.points_confidence}
    floats = {name: values.float().numpy() for name, values in arrays.items()}
    np.savez_compressed(path, **floats, valid=scene.valid.numpy(), names=np.array(names))
