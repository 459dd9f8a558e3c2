"""KITTI depth: street scenes from a car, depth accumulated from laser scans.

Download, cvlibs.net (free registration). Licence: CC BY-NC-SA 3.0.
Split "selection" (one image a scene): data_depth_selection.zip.

    ROOT/depth_selection/val_selection_cropped/image/2011_09_26_drive_0002_sync_image_0000000005_image_02.png
    ROOT/depth_selection/val_selection_cropped/groundtruth_depth/…_sync_groundtruth_depth_0000000005_image_02.png
    ROOT/depth_selection/val_selection_cropped/intrinsics/…_sync_image_0000000005_image_02.txt    3 × 3, pixels

Split "video", also called "test": data_depth_annotated.zip and, of the 13 validation drives, the raw data
"synced+rectified" with their day's calibration. Split "calibration": raw data of any other drives, such as those that
data_depth_annotated.zip trains on; their depth is not read.

    ROOT/val/2011_09_26_drive_0002_sync/proj_depth/groundtruth/image_02/0000000005.png
    ROOT/2011_09_26/2011_09_26_drive_0002_sync/image_02/data/0000000005.png
    ROOT/2011_09_26/calib_cam_to_cam.txt                          P_rect_02, S_rect_02

Depth is metres × 256 in 16 bits, 0 is unknown. The cameras of a drive come from satellite navigation, too coarse to be
a truth: extrinsics and points of videos are None.

Uhrig et al., "Sparsity Invariant CNNs", 3DV 2017; Geiger et al., "Vision meets Robotics", IJRR 2013.
"""

import os
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from fgq.data.about import CALIBRATION
from fgq.data.cameras import INTEGER_CENTRES, pinhole, shifted, upper_triangular
from fgq.data.depth_files import read_png16
from fgq.data.on_disk import DiskDataset, LoadedScenes
from fgq.data.reading import (
    find_copies,
    list_folders,
    list_names,
    read_image,
    read_numbers,
    read_text,
    refuse_missing,
    to_numbers,
)
from fgq.data.sampling import FrameList, Rule
from fgq.data.sequence import DepthMap, Frame, Sequence, SequenceError, SequenceFailure, check_frame, shown

DRIVES = (
    *(f"2011_09_26_drive_{n:04d}_sync" for n in (2, 5, 13, 20, 23, 36, 79, 95, 113)),
    "2011_09_28_drive_0037_sync",
    "2011_09_29_drive_0026_sync",
    "2011_09_30_drive_0016_sync",
    "2011_10_03_drive_0047_sync",
)
CAMERA = "image_02"  # the left colour camera
RAW_DAY, RAW_DRIVE = r"\d{4}_\d\d_\d\d", r"\d{4}_\d\d_\d\d_drive_\d{4}_sync"
SELECTED = re.compile(
    r"(\d{4}_\d\d_\d\d_drive_\d{4}_sync)_(image|groundtruth_depth)_(\d{10}_image_0[23])\.png", re.ASCII
)
UNITS_A_METRE = 256


def load(
    root: str | Path | None = None,
    split: str = "selection",
    count: int | None = None,
    frames: int | None = None,
    seed: int | None = None,
    size: int | tuple[int, int] = 518,
    patch_size: int = 14,
    frame_list: str | Path | FrameList | None = None,
    drives: tuple[str, ...] | None = None,
) -> LoadedScenes:
    """Scenes in metres with depth: the selected single images, or the first 110 frames of each drive (split "video").

    split="calibration" has the first 4 images of every other drive on disk; `drives` are some of a split's. `frames` is
    the number of first frames of a drive. Raises FgqError; what cannot be read is in `.failures`.
    """
    rule = None if frames is None else Rule("first", frames)
    return DATASET.select(root, split, rule, count, seed, frame_list, drives=drives).read(size, patch_size)


def find(root: Path, split: str, drives: tuple[str, ...] | None = None) -> list[Sequence | SequenceFailure]:
    if split == "selection":
        return find_selected(root / "depth_selection" / "val_selection_cropped")
    if split == CALIBRATION:
        drives = [name for name in raw_drives(root) if name not in DRIVES and (drives is None or name in drives)]
    found = []
    for name in DRIVES if drives is None else drives:
        drive = Drive(root, name, measured=split != CALIBRATION)
        found.append(Sequence(f"{name}/{CAMERA}", drive.frames, drive.read))
    return found


def raw_drives(root: Path) -> list[str]:
    days = [name for name in list_folders(root) if re.fullmatch(RAW_DAY, name, re.ASCII)]
    return [name for day in days for name in list_folders(root / day) if re.fullmatch(RAW_DRIVE, name, re.ASCII)]


def find_selected(folder: Path) -> list[Sequence | SequenceFailure]:
    """One sequence of one frame for every image or depth map: the one without the other fails when it is read."""
    names, failures = set(), []
    for part in ("image", "groundtruth_depth"):
        for name in list_names(folder / part):
            match = SELECTED.fullmatch(name)
            if match is None or match[2] != part:
                reason = f"{shown(folder / part / name)}: is no name of a selected {part} file"
                failures.append(SequenceFailure(shown(name), reason))
            else:
                names.add((match[1], match[3]))
    copied = set()
    for part in ("image", "groundtruth_depth"):
        regular = [name for name in list_names(folder / part) if os.path.isfile(folder / part / name)]
        for name in find_copies(folder / part, regular):
            match = SELECTED.fullmatch(name)
            if match is not None:
                copied.add((match[1], match[3]))
                reason = f"{shown(folder / part / name)}: is a copy of another file"
                failures.append(SequenceFailure(f"{match[1]}/{match[3]}", reason))
    return failures + [
        Sequence(f"{drive}/{frame}", partial(list_selected, frame), partial(read_selected, folder, drive))
        for drive, frame in sorted(names - copied)
    ]


def list_selected(frame: str) -> list[str]:
    return [frame]


def read_selected(folder: Path, drive: str, frame: str) -> Frame:
    path = folder / "image" / f"{drive}_image_{frame}.png"
    image = read_image(path)
    calibration = folder / "intrinsics" / f"{drive}_image_{frame}.txt"
    matrix = upper_triangular(read_numbers(calibration, (3, 3)), shown(calibration))
    depth = read_depth(folder / "groundtruth_depth" / f"{drive}_groundtruth_depth_{frame}.png")
    # One frame's camera is its own world.
    return check_frame(Frame(image, np.eye(3, 4), shifted(matrix, INTEGER_CENTRES), depth), path)


def read_depth(path: Path) -> DepthMap:
    codes = read_png16(path)
    return DepthMap((codes / UNITS_A_METRE).astype(np.float32), codes > 0)


@dataclass(frozen=True)
class Drive:
    root: Path
    name: str
    measured: bool = True  # whether depth is read

    @property
    def truth(self) -> Path:
        return self.root / "val" / self.name / "proj_depth" / "groundtruth" / CAMERA

    @property
    def day(self) -> Path:
        return self.root / self.name[: len("2011_09_26")]

    def image_path(self, frame: str) -> Path:
        return self.day / self.name / CAMERA / "data" / f"{frame}.png"

    def frames(self) -> list[str]:
        """Frames (with depth), such as 0000000005. Raises SequenceError when one of them in between is missing."""
        images = self.image_path("").parent
        folders = (self.truth, images) if self.measured else (images,)
        files = list_names(folders[0])
        numbers = sorted(int(name[:10]) for name in files if re.fullmatch(r"\d{10}\.png", name, re.ASCII))
        if not numbers or len(numbers) != len(files):
            what = "depth maps" if self.measured else "images"
            raise SequenceError(f"{shown(folders[0])}: holds no {what} such as 0000000005.png, or other files too")
        for folder in folders:
            wanted = (f"{number:010d}.png" for number in range(numbers[0], numbers[-1] + 1))
            refuse_missing(folder, wanted, list_names(folder))
        for folder in folders:
            copies = find_copies(folder, [name for name in list_names(folder) if name.endswith(".png")])
            if copies:
                raise SequenceError(f"{shown(folder / copies[0])}: is a copy of {shown(copies[1])}")
        return [f"{number:010d}" for number in numbers]

    def read(self, frame: str) -> Frame:
        path = self.image_path(frame)
        image = read_image(path)
        calibration = self.day / "calib_cam_to_cam.txt"
        size, intrinsics = read_rectified(calibration)
        if image.size != size:
            raise SequenceError(
                f"{shown(path)}: has {image.width} × {image.height} pixels, "
                f"its calibration is for {size[0]} × {size[1]}"
            )
        depth = read_depth(self.truth / f"{frame}.png") if self.measured else None
        return check_frame(Frame(image, None, intrinsics, depth), path)


def read_rectified(path: Path) -> tuple[tuple[int, int], np.ndarray]:
    """Image size (width, height) and intrinsics [3, 3] of the rectified colour camera."""
    entries = dict(line.split(":", 1) for line in read_text(path).splitlines() if ":" in line)
    camera = CAMERA.removeprefix("image_")
    found = []
    for key, count in ((f"S_rect_{camera}", 2), (f"P_rect_{camera}", 12)):
        if key not in entries:
            raise SequenceError(f"{shown(path)}: has no line {key}")
        found.append(to_numbers(entries[key].split(), count, f"{shown(path)}: {key}"))
    projection = found[1].reshape(3, 4)
    matrix = pinhole(projection[0, 0], projection[1, 1], projection[0, 2], projection[1, 2], shown(path))
    return (int(found[0][0]), int(found[0][1])), shifted(matrix, INTEGER_CENTRES)


DATASET = DiskDataset(
    name="kitti",
    unit="metre",
    needs="depth_selection (data_depth_selection.zip), or for videos val (data_depth_annotated.zip) and the raw drives",
    licence="CC BY-NC-SA 3.0",
    rules={
        "selection": Rule("all"),
        "video": Rule("first", 110),
        "test": Rule("first", 110),
        CALIBRATION: Rule("first", 4),
    },
    published={"video": len(DRIVES), "test": len(DRIVES)},
    find=find,
    recording=lambda name: name.split("/")[0],  # the drive, of which a selected image is a part
)
