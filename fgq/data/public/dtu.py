"""DTU: tabletop scenes under a robot arm, structured-light depth.

Download: Rectified.zip of the DTU MVS 2014 page (1600 × 1200 images); of MVSNet's DTU training archive the folder
Cameras; Depths_raw.zip, MVSNet's depth maps at full size (CasMVSNet links it). Licence: DTU asks for citation and
gives no other terms.

    ROOT/Rectified/scan1/rect_001_3_r5000.png        view 1 of 49, light 3 of 0 to 6
    ROOT/Cameras/00000000_cam.txt                    of view 1: "extrinsic", 4 × 4 camera-from-world in millimetres,
                                                     "intrinsic", 3 × 3 in pixels, smallest depth and its step;
                                                     OpenCV axes, the first pixel's centre is (0, 0)
    ROOT/Depths_raw/scan1/depth_map_0000.pfm         of view 1: z-depth in millimetres, 0 is unknown
    ROOT/Depths_raw/scan1/depth_visual_0000.png      of view 1: above 10 where that depth can be trusted

Without Depths_raw, scenes have cameras only. The ground truth here is depth, not DTU's own point clouds.
Jensen et al., "Large Scale Multi-view Stereopsis Evaluation", CVPR 2014; Yao et al., "MVSNet", ECCV 2018.
"""

import os
import re
from functools import partial
from pathlib import Path

import numpy as np

from fgq.data.public.cameras import INTEGER_CENTRES, rigid, shifted, upper_triangular
from fgq.data.public.on_disk import RANDOM_OR_STEP, DiskDataset
from fgq.data.reading import list_folders, read_image, read_mask, read_pfm, read_text, refuse_missing, to_numbers
from fgq.data.sampling import CALIBRATION, CALIBRATION_RULE, Rule, check_whole
from fgq.data.sequence import DepthMap, Frame, Sequence, check_depth, check_frame, fault

TEST_SCANS = (1, 4, 9, 10, 11, 12, 13, 15, 23, 24, 29, 32, 33, 34, 48, 49, 62, 75, 77, 110, 114, 118)
VIEWS = 49  # later scans have 64; the protocols use those that all have
TRUSTED = 10  # of the 8-bit picture of a depth map


def find(root: Path, split: str, *, light: int = 3, views: int = VIEWS) -> list[Sequence]:
    """The test scans; all others on disk, without depth ("calibration"); or every scan on disk ("all").

    `views` is how many each must have, under one of the lights.
    """
    check_whole(views, "dtu: views", 1)
    names = tested = [f"scan{number}" for number in TEST_SCANS]
    if split != "test":
        names = [name for name in list_folders(root / "Rectified") if re.fullmatch(r"scan\d+", name, re.ASCII)]
    if split == CALIBRATION:
        names = [name for name in names if name not in tested]
    measured = split != CALIBRATION and os.path.lexists(root / "Depths_raw")
    return [
        Sequence(name, partial(list_views, root, name, light, views), partial(read_view, root, name, light, measured))
        for name in names
    ]


def list_views(root: Path, scan: str, light: int, views: int) -> list[str]:
    """Views 1, 2, … as text. Raises SequenceError when an image or camera of one is missing."""
    numbers = range(1, views + 1)
    refuse_missing(root / "Rectified" / scan, (image_name(view, light) for view in numbers))
    refuse_missing(root / "Cameras", (camera_name(view) for view in numbers))
    return [str(view) for view in numbers]


def image_name(view: int, light: int) -> str:
    return f"rect_{view:03d}_{light}_r5000.png"


def camera_name(view: int) -> str:
    return f"{view - 1:08d}_cam.txt"


def read_view(root: Path, scan: str, light: int, measured: bool, frame: str) -> Frame:
    view = int(frame)
    path = root / "Rectified" / scan / image_name(view, light)
    extrinsics, intrinsics = read_camera(root / "Cameras" / camera_name(view))
    depth = read_depth(root / "Depths_raw" / scan, view) if measured else None
    return check_frame(Frame(read_image(path), extrinsics, intrinsics, depth), path)


def read_camera(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Camera-from-world [3, 4] and intrinsics [3, 3] of an MVSNet camera file; its first pixel's centre is (0, 0)."""
    words = read_text(path).split()
    if len(words) < 27 or words[0] != "extrinsic" or words[17] != "intrinsic":
        raise fault(path, 'is no camera file: "extrinsic", 16 numbers, "intrinsic", 9 numbers')
    motion = rigid(to_numbers(words[1:17], 16, path).reshape(4, 4), path)
    matrix = upper_triangular(to_numbers(words[18:27], 9, path).reshape(3, 3), path)
    return motion, shifted(matrix, INTEGER_CENTRES)


def read_depth(folder: Path, view: int) -> DepthMap:
    path = folder / f"depth_map_{view - 1:04d}.pfm"
    values = read_pfm(path)
    unknown = values == 0
    trusted = read_mask(folder / f"depth_visual_{view - 1:04d}.png", values.shape, TRUSTED)
    return DepthMap(check_depth(values, unknown, path), trusted & ~unknown)


DATASET = DiskDataset(
    name="dtu",
    unit="millimetre",
    needs="Rectified (DTU's Rectified.zip), Cameras (MVSNet's training archive) and Depths_raw (Depths_raw.zip)",
    licence="none stated; cite Jensen et al. 2014",
    rules={"test": Rule("every", 5), "all": Rule("every", 5), CALIBRATION: CALIBRATION_RULE},
    published={"test": len(TEST_SCANS)},
    calibration="every scan on disk that is not of the test, without depth",
    find=find,
    choices=RANDOM_OR_STEP,
)
load = DATASET.load
