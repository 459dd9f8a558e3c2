"""Cameras as JSON, complete enough to use every other file of the folder."""

import json
from pathlib import Path

from fgq.export.reconstruction import Reconstruction
from fgq.geometry import invert_extrinsics

CONVENTIONS = {
    "axes": "OpenCV: x right, y down, z forward",
    "world": "the first camera",
    "unit": "unknown; one for cameras, depth and points",
    "pixels": "the centre of the first pixel is at (0.5, 0.5)",
    "model_image": "photo pixel (x, y) is at (x * scale_x - left, y * scale_y - top)",
}


def write_cameras(scene: Reconstruction, files: list[dict], path: Path, **facts) -> None:
    """One entry a frame: its `files`, its pose both ways, intrinsics of the upright photo and of the model's image.

    `facts` stand at the top, beside the conventions.
    """
    inverse, whole = invert_extrinsics(scene.extrinsics), scene.photo_intrinsics()
    frames = []
    for s, (size, crop) in enumerate(zip(scene.photos.sizes, scene.photos.crops, strict=True)):
        frames.append(
            {
                "source": scene.photos.names[s],
                **files[s],
                "camera_from_world": scene.extrinsics[s].tolist(),
                "world_from_camera": inverse[s].tolist(),
                "photo": {"width": size[1], "height": size[0], "intrinsics": whole[s].tolist()},
                "model_image": {
                    "width": crop.window[1],
                    "height": crop.window[0],
                    "intrinsics": scene.intrinsics[s].tolist(),
                    "scale_x": crop.scale[1],
                    "scale_y": crop.scale[0],
                    "left": crop.left,
                    "top": crop.top,
                },
            }
        )
    content = {**facts, "conventions": CONVENTIONS, "frames": frames}
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8", errors="backslashreplace")  # a name that is no UTF-8, as JSON escapes it
