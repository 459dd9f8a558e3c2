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

from fgq.data.public.cameras import INTEGER_CENTRES, pinhole, shifted, upper_triangular
from fgq.data.public.on_disk import DiskDataset
from fgq.data.reading import (
    coded_depth,
    find_copies,
    list_folders,
    list_names,
    read_image,
    read_text,
    refuse_missing,
    to_numbers,
)
from fgq.data.sampling import CALIBRATION, Rule
from fgq.data.sequence import Frame, Sequence, SequenceFailure, check_frame, fault, shown

DRIVES = (
    *(f"2011_09_26_drive_{n:04d}_sync" for n in (2, 5, 13, 20, 23, 36, 79, 95, 113)),
    "2011_09_28_drive_0037_sync",
    "2011_09_29_drive_0026_sync",
    "2011_09_30_drive_0016_sync",
    "2011_10_03_drive_0047_sync",
)
CAMERA = "image_02"  # the left colour camera
RAW_DAY, RAW_DRIVE = r"\d{4}_\d\d_\d\d", r"\d{4}_\d\d_\d\d_drive_\d{4}_sync"
SELECTED = re.compile(rf"({RAW_DRIVE})_(image|groundtruth_depth)_(\d{{10}}_image_0[23])\.png", re.ASCII)
CODES_A_METRE = 256
VIDEO = Rule("first", 110)


def find(root: Path, split: str, *, drives: tuple[str, ...] | None = None) -> list[Sequence | SequenceFailure]:
    """The selected images, one a sequence; the drives of the test; or every other drive on disk ("calibration").

    `drives` are some of a split's.
    """
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
    names, copied, failures = set(), set(), []
    for part in ("image", "groundtruth_depth"):
        files = list_names(folder / part)
        copies = find_copies(folder / part, [name for name in files if os.path.isfile(folder / part / name)])
        for name in files:
            match, where = SELECTED.fullmatch(name), shown(folder / part / name)
            if match and name in copies:
                copied.add((match[1], match[3]))
                failures.append(SequenceFailure(f"{match[1]}/{match[3]}", f"{where}: is a copy of another file"))
            if match and match[2] == part:
                names.add((match[1], match[3]))
            else:
                failures.append(SequenceFailure(shown(name), f"{where}: is no name of a selected {part} file"))
    return failures + [
        Sequence(f"{drive}/{frame}", partial(list, [frame]), partial(read_selected, folder, drive))
        for drive, frame in sorted(names - copied)
    ]


def read_selected(folder: Path, drive: str, frame: str) -> Frame:
    path = folder / "image" / f"{drive}_image_{frame}.png"
    image = read_image(path)
    calibration = folder / "intrinsics" / f"{drive}_image_{frame}.txt"
    numbers = to_numbers(read_text(calibration).split(), 9, calibration)
    intrinsics = shifted(upper_triangular(numbers.reshape(3, 3), calibration), INTEGER_CENTRES)
    depth = coded_depth(folder / "groundtruth_depth" / f"{drive}_groundtruth_depth_{frame}.png", CODES_A_METRE)
    # One frame's camera is its own world.
    return check_frame(Frame(image, np.eye(3, 4), intrinsics, depth), path)


@dataclass(frozen=True)
class Drive:
    root: Path
    name: str
    measured: bool  # whether depth is read

    @property
    def truth(self) -> Path:
        return self.root / "val" / self.name / "proj_depth" / "groundtruth" / CAMERA

    @property
    def day(self) -> Path:
        return self.root / self.name[: len("2011_09_26")]

    @property
    def images(self) -> Path:
        return self.day / self.name / CAMERA / "data"

    def frames(self) -> list[str]:
        """Frames (with depth), such as 0000000005. Raises SequenceError when one of them in between is missing."""
        folders = (self.truth, self.images) if self.measured else (self.images,)
        files = list_names(folders[0])
        numbers = sorted(int(name[:10]) for name in files if re.fullmatch(r"\d{10}\.png", name, re.ASCII))
        if not numbers or len(numbers) != len(files):
            what = "depth maps" if self.measured else "images"
            raise fault(folders[0], f"holds no {what} such as 0000000005.png, or other files too")
        for folder in folders:
            refuse_missing(folder, (f"{number:010d}.png" for number in range(numbers[0], numbers[-1] + 1)))
        for folder in folders:
            copies = find_copies(folder, [name for name in list_names(folder) if name.endswith(".png")])
            if copies:
                raise fault(folder / copies[0], f"is a copy of {shown(copies[1])}")
        return [f"{number:010d}" for number in numbers]

    def read(self, frame: str) -> Frame:
        path = self.images / f"{frame}.png"
        size, intrinsics = read_rectified(self.day / "calib_cam_to_cam.txt")
        image = read_image(path, size)
        depth = coded_depth(self.truth / f"{frame}.png", CODES_A_METRE) if self.measured else None
        return check_frame(Frame(image, None, intrinsics, depth), path)


def read_rectified(path: Path) -> tuple[tuple[int, int], np.ndarray]:
    """Image size (width, height) and intrinsics [3, 3] of the rectified colour camera."""
    entries = dict(line.split(":", 1) for line in read_text(path).splitlines() if ":" in line)

    def numbers(key: str, count: int) -> np.ndarray:
        if key not in entries:
            raise fault(path, f"has no line {key}")
        return to_numbers(entries[key].split(), count, f"{shown(path)}: {key}")

    camera = CAMERA.removeprefix("image_")
    width, height = numbers(f"S_rect_{camera}", 2)
    matrix = numbers(f"P_rect_{camera}", 12).reshape(3, 4)
    intrinsics = pinhole(matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2], path)
    return (int(width), int(height)), shifted(intrinsics, INTEGER_CENTRES)


DATASET = DiskDataset(
    name="kitti",
    unit="metre",
    needs="depth_selection (data_depth_selection.zip), or for videos val (data_depth_annotated.zip) and the raw drives",
    licence="CC BY-NC-SA 3.0",
    rules={"selection": Rule("all"), "video": VIDEO, "test": VIDEO, CALIBRATION: Rule("first", 4)},
    published={"video": len(DRIVES), "test": len(DRIVES)},
    calibration="every raw drive on disk that is not of the test, without depth",
    find=find,
    choices={"frames": "first"},
    recording=lambda name: name.split("/")[0],  # the drive, of which a selected image is a part
)
load = DATASET.load
