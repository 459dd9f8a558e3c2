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

from fgq.data.about import CALIBRATION, CALIBRATION_RULE
from fgq.data.cameras import pinhole, rigid
from fgq.data.co3d_annotations import AnnotationCache, FrameAnnotation, read_set_list
from fgq.data.depth_files import check_depth, read_png16
from fgq.data.on_disk import DiskDataset, LoadedScenes
from fgq.data.reading import list_folders, read_image, read_mask
from fgq.data.sampling import FrameList, Rule
from fgq.data.sequence import DepthMap, Frame, Sequence, SequenceError, SequenceFailure, check_frame, shown
from fgq.errors import FgqError

CATEGORY_PARTS = ("frame_annotations.jgz", "set_lists")
REGIONS = ("frame", "object")
OBJECT_THRESHOLD = 127  # of a soft mask of 8 bits: more object than background
FARTHEST = 1e5  # a camera this far from the object is a failed reconstruction; there are some, in cars


def load(
    root: str | Path | None = None,
    split: str = "test",
    count: int | None = None,
    frames: int | None = None,
    seed: int | None = None,
    size: int | tuple[int, int] = 518,
    patch_size: int = 14,
    frame_list: str | Path | FrameList | None = None,
    subset: str = "fewview_dev",
    categories: tuple[str, ...] | None = None,
    region: str = "frame",
) -> LoadedScenes:
    """Scenes of normalised unit, named category/sequence: 10 random frames of every sequence, unless told.

    `subset` and `split` name the set list ("calibration": train without the sequences that are in test too, 4 frames
    of each); `count` sequences are spread over the `categories` (all that are on disk).
    Depth is valid within the depth mask; region="object" also asks for the object's mask. Raises FgqError; sequences
    that cannot be read are in `.failures`.
    """
    rule = None if frames is None else Rule("random", frames)
    options = {"subset": subset, "categories": categories, "region": region}
    return DATASET.select(root, split, rule, count, seed, frame_list, **options).read(size, patch_size)


def find(
    root: Path,
    split: str,
    subset: str = "fewview_dev",
    categories: tuple[str, ...] | None = None,
    region: str = "frame",
) -> list[Sequence | SequenceFailure]:
    if region not in REGIONS:
        raise FgqError(f"co3d has no region {region!r}; choose one of {', '.join(REGIONS)}")
    if categories is None:
        categories = list_folders(root)
        if not any(os.path.lexists(root / name / part) for name in categories for part in CATEGORY_PARTS):
            raise SequenceError(f"{shown(root)}: no folder here is a category; co3d needs {DATASET.needs}")
    found = []
    cache = AnnotationCache(root)
    for category in categories:
        path = root / category / "set_lists" / f"set_lists_{subset}.json"
        try:
            listed = read_set_list(path, "train" if split == CALIBRATION else split)
            tested = read_set_list(path, "test") if split == CALIBRATION else {}
        except SequenceError as error:
            found.append(SequenceFailure(shown(category), str(error)))
            continue
        for name in (name for name in listed if name not in tested):
            read = partial(read_frame, root, cache, category, name, region)
            listing = partial(list_frames, cache, category, name, listed[name])
            found.append(Sequence(f"{category}/{name}", listing, read, group=category))
    return found


def list_frames(cache: AnnotationCache, category: str, sequence: str, frames: list[int]) -> list[str]:
    """Frame numbers of the set list. Raises SequenceError when one of them is not annotated."""
    annotated = cache.frames(category, sequence)
    missing = [number for number in frames if number not in annotated]
    if missing:
        raise SequenceError(f"{shown(cache.path(category))}: {sequence} has no frame {missing[0]} of the set list")
    return [str(number) for number in frames]


def read_frame(root: Path, cache: AnnotationCache, category: str, sequence: str, region: str, frame: str) -> Frame:
    annotation = cache.frames(category, sequence)[int(frame)]
    where = f"{shown(cache.path(category))}: frame {frame} of {sequence}"
    image = read_image(root / annotation.image)
    if image.size != (annotation.width, annotation.height):
        raise SequenceError(
            f"{shown(root / annotation.image)}: has {image.size[0]} × {image.size[1]} pixels, "
            f"the annotation says {annotation.width} × {annotation.height}"
        )
    extrinsics, intrinsics = opencv_camera(annotation, where)
    depth = None if annotation.depth is None else read_depth(root, annotation, region)
    return check_frame(Frame(image, extrinsics, intrinsics, depth), root / annotation.image)


def opencv_camera(annotation: FrameAnnotation, where: str) -> tuple[np.ndarray, np.ndarray]:
    """PyTorch3D's camera as OpenCV's camera-from-world [3, 4] and intrinsics [3, 3] in pixels.

    PyTorch3D: x_camera = x_world R + T with x left and y up, so R is transposed and two axes turn round. Its normalised
    coordinates run from +1 at the left or upper edge to −1: over half the shorter side (ndc_isotropic) or over half of
    each side (ndc_norm_image_bounds).
    """
    turn = np.diag([-1.0, -1.0, 1.0])
    motion = np.concatenate([turn @ annotation.rotation.T, (turn @ annotation.translation)[:, None]], axis=1)
    if np.abs(annotation.translation).max() > FARTHEST:
        raise SequenceError(f"{where}: the camera is {np.abs(annotation.translation).max():.1g} units away")
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
    valid = ~unknown & same_size(read_mask(root / annotation.depth_mask), values, root / annotation.depth_mask)
    if region == "object":
        if annotation.mask is None:
            raise SequenceError(f"{shown(path)}: its frame has no object mask: use region='frame'")
        valid &= same_size(read_mask(root / annotation.mask, OBJECT_THRESHOLD), values, root / annotation.mask)
    return DepthMap(np.where(valid, values, 0), valid)


def same_size(mask: np.ndarray, values: np.ndarray, path: Path) -> np.ndarray:
    if mask.shape != values.shape:
        raise SequenceError(f"{shown(path)}: this mask has another size than the depth map")
    return mask


DATASET = DiskDataset(
    name="co3d",
    unit="normalised",
    needs="the unpacked CO3Dv2 categories, each with frame_annotations.jgz and set_lists",
    licence="CC BY-NC 4.0",
    rules={split: Rule("random", 10) for split in ("test", "val", "train")} | {CALIBRATION: CALIBRATION_RULE},
    published={"test": 2506},
    find=find,
)
