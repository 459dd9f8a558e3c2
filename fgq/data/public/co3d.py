"""CO3Dv2: turntable-like videos of objects in 51 categories, with COLMAP cameras, dense depth and object masks.

Download: the CO3Dv2 archives (all of a category are unpacked over one another), facebookresearch/co3d. Licence:
CC BY-NC 4.0.

    ROOT/apple/frame_annotations.jgz                       gzipped JSON: image, depth, mask, camera of every frame
    ROOT/apple/set_lists/set_lists_fewview_dev.json        {"test": [[sequence, frame number, image path], …], …}
    ROOT/apple/110_13051_23361/images/frame000001.jpg
    ROOT/apple/110_13051_23361/depths/frame000001.jpg.geometric.png   float16 in a PNG of 16 bits
    ROOT/apple/110_13051_23361/depth_masks/frame000001.png            where that depth can be trusted
    ROOT/apple/110_13051_23361/masks/frame000001.png                  the object, soft

Cameras are PyTorch3D's (x left, y up; a row vector is multiplied from the left) with normalised intrinsics. Lengths
have no unit. Depth is unknown where it is 0 or not finite, or its mask is 0. The published image width is 512, which
patches of 14 do not tile: 518 is the default here.

Reizenstein et al., "Common Objects in 3D", ICCV 2021.
"""

import os
from functools import partial
from pathlib import Path

import numpy as np

from fgq.data.public.cameras import pinhole, rigid
from fgq.data.public.co3d_annotations import Annotations, FrameAnnotation, read_set_list
from fgq.data.public.on_disk import RANDOM, DiskDataset
from fgq.data.reading import list_folders, read_image, read_mask, read_png16
from fgq.data.sampling import CALIBRATION, CALIBRATION_RULE, Rule
from fgq.data.sequence import (
    DepthMap,
    Frame,
    Sequence,
    SequenceError,
    SequenceFailure,
    check_depth,
    check_frame,
    fault,
    shown,
)
from fgq.errors import FgqError

CATEGORY_PARTS = ("frame_annotations.jgz", "set_lists")
REGIONS = ("frame", "object")
OBJECT_THRESHOLD = 127  # of a soft mask of 8 bits: more object than background
FARTHEST = 1e5  # a camera this far from the object is a failed reconstruction; there are some, in cars


def find(
    root: Path,
    split: str,
    *,
    subset: str = "fewview_dev",
    categories: tuple[str, ...] | None = None,
    region: str = "frame",
) -> list[Sequence | SequenceFailure]:
    """Sequences category/sequence of the `categories` (all that are on disk).

    `subset` and `split` name the set list ("calibration": train without the sequences that are in test too). Depth is
    valid within the depth mask; region="object" also asks for the object's mask.
    """
    if region not in REGIONS:
        raise FgqError(f"co3d has no region {region!r}; choose one of {', '.join(REGIONS)}")
    if categories is None:
        categories = list_folders(root)
        if not any(os.path.lexists(root / name / part) for name in categories for part in CATEGORY_PARTS):
            raise fault(root, f"no folder here is a category; co3d needs {DATASET.needs}")
    found = []
    annotations = Annotations(root)
    for category in categories:
        path = root / category / "set_lists" / f"set_lists_{subset}.json"
        try:
            listed = read_set_list(path, "train" if split == CALIBRATION else split)
            tested = read_set_list(path, "test") if split == CALIBRATION else {}
        except SequenceError as error:
            found.append(SequenceFailure(shown(category), str(error)))
            continue
        for name in (name for name in listed if name not in tested):
            listing = partial(list_frames, annotations, category, name, listed[name])
            read = partial(read_frame, annotations, category, name, region)
            found.append(Sequence(f"{category}/{name}", listing, read, group=category))
    return found


def list_frames(annotations: Annotations, category: str, sequence: str, frames: list[int]) -> list[str]:
    """Frame numbers of the set list. Raises SequenceError when one of them is not annotated."""
    annotated = annotations.frames(category, sequence)
    missing = [number for number in frames if number not in annotated]
    if missing:
        raise fault(annotations.path(category), f"{sequence} has no frame {missing[0]} of the set list")
    return [str(number) for number in frames]


def read_frame(annotations: Annotations, category: str, sequence: str, region: str, frame: str) -> Frame:
    annotation = annotations.frames(category, sequence)[int(frame)]
    path = annotations.root / annotation.image
    image = read_image(path, (annotation.width, annotation.height), "the annotation says")
    where = f"{shown(annotations.path(category))}: frame {frame} of {sequence}"
    extrinsics, intrinsics = opencv_camera(annotation, where)
    depth = None if annotation.depth is None else read_depth(annotations.root, annotation, region)
    return check_frame(Frame(image, extrinsics, intrinsics, depth), path)


def opencv_camera(annotation: FrameAnnotation, where: str) -> tuple[np.ndarray, np.ndarray]:
    """PyTorch3D's camera as OpenCV's camera-from-world [3, 4] and intrinsics [3, 3] in pixels.

    PyTorch3D: x_camera = x_world R + T with x left and y up, so R is transposed and two axes turn round. Its normalised
    coordinates run from +1 at the left or upper edge to −1: over half the shorter side (ndc_isotropic) or over half of
    each side (ndc_norm_image_bounds).
    """
    away = np.abs(annotation.translation).max()
    if away > FARTHEST:
        raise fault(where, f"the camera is {away:.1g} units away")
    turn = np.diag([-1.0, -1.0, 1.0])
    motion = np.concatenate([turn @ annotation.rotation.T, (turn @ annotation.translation)[:, None]], axis=1)
    half = np.array([annotation.width, annotation.height]) / 2
    scale = np.full(2, half.min()) if annotation.intrinsics_format == "ndc_isotropic" else half
    focal = annotation.focal_length * scale
    centre = half - annotation.principal_point * scale
    return rigid(motion, where), pinhole(*focal, *centre, where)


def read_depth(root: Path, annotation: FrameAnnotation, region: str) -> DepthMap:
    path = root / annotation.depth
    values = read_png16(path).view(np.float16).astype(np.float32)
    unknown = ~np.isfinite(values) | (values == 0)  # as the dataset's own reader has it
    values = check_depth(values, unknown, path) * annotation.scale_adjustment
    valid = ~unknown & read_mask(root / annotation.depth_mask, values.shape)
    if region == "object":
        if annotation.mask is None:
            raise fault(path, "its frame has no object mask: use region='frame'")
        valid &= read_mask(root / annotation.mask, values.shape, OBJECT_THRESHOLD)
    return DepthMap(np.where(valid, values, 0), valid)


DATASET = DiskDataset(
    name="co3d",
    unit="normalised",
    needs="the unpacked CO3Dv2 categories, each with frame_annotations.jgz and set_lists",
    licence="CC BY-NC 4.0",
    rules={split: Rule("random", 10) for split in ("test", "val", "train")} | {CALIBRATION: CALIBRATION_RULE},
    published={"test": 2506},
    calibration="the train lists, without sequences that stand in a test list too",
    find=find,
    choices=RANDOM,
)
load = DATASET.load
