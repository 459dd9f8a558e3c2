"""ETH3D high-resolution multi-view: photographs of indoor and outdoor places, laser-scanned depth of 13 of them.

Download: of each scene SCENE_dslr_undistorted.7z (images, calibration), SCENE_dslr_jpg.7z (its calibration is needed
for depth, its images are not), SCENE_dslr_depth.7z, eth3d.net. Licence: CC BY-NC-SA 4.0.

    ROOT/courtyard/images/dslr_images_undistorted/DSC_0286.JPG
    ROOT/courtyard/dslr_calibration_undistorted/cameras.txt, images.txt      COLMAP text, PINHOLE, metres
    ROOT/courtyard/dslr_calibration_jpg/cameras.txt, images.txt              COLMAP text, THIN_PRISM_FISHEYE
    ROOT/courtyard/ground_truth_depth/dslr_images/DSC_0286.JPG               no JPEG: raw little-endian float32, row by
                                                                             row; infinity and 0 are unknown

The depth maps belong to the distorted photographs. Undistortion keeps the camera's axes and so its z-depth; the depth
of an undistorted pixel is that of the distorted pixel on the same ray. If no scene has ground_truth_depth, they have
cameras only. COLMAP's poses are camera-from-world in OpenCV axes already, quaternions w x y z; pixels count from the
image's corner.

Schöps et al., "A Multi-View Stereo Benchmark with High-Resolution Images and Multi-Camera Videos", CVPR 2017.
"""

import os
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path, PurePosixPath

import numpy as np

from fgq.data.about import CALIBRATION, CALIBRATION_RULE
from fgq.data.colmap import ColmapCamera, ColmapImage, read_cameras, read_images
from fgq.data.depth_files import check_depth, read_raw_floats
from fgq.data.on_disk import DiskDataset, LoadedScenes
from fgq.data.reading import list_folders, list_names, read_image
from fgq.data.sampling import FrameList, Rule, frames_or_step
from fgq.data.sequence import DepthMap, Frame, Sequence, SequenceError, SequenceFailure, check_frame, shown

# ETH3D's own training scenes, which alone come with the truth: published evaluations of VGGT are on these.
SCENES = "courtyard delivery_area electro facade kicker meadow office pipes playground relief relief_2 terrace terrains"


def load(
    root: str | Path | None = None,
    split: str = "training",
    count: int | None = None,
    every: int | None = None,
    seed: int | None = None,
    size: int | tuple[int, int] = 518,
    patch_size: int = 14,
    frame_list: str | Path | FrameList | None = None,
    scenes: tuple[str, ...] | None = None,
    frames: int | None = None,
) -> LoadedScenes:
    """Scenes in metres with cameras, depth and points: every 5th image by name of the 13 scenes, unless told.

    `every` is that step, `frames` a number of random images instead; `scenes` are some of a split's. The splits
    "training" and "test" are one; "calibration" has 4 images, without depth, of each other scene on disk. Raises
    FgqError; scenes that cannot be read are in `.failures`.
    """
    rule = frames_or_step(frames, every)
    return DATASET.select(root, split, rule, count, seed, frame_list, scenes=scenes).read(size, patch_size)


def find(root: Path, split: str, scenes: tuple[str, ...] | None = None) -> list[Sequence | SequenceFailure]:
    found, tested = [], SCENES.split()
    if split == CALIBRATION:
        places = list_folders(root) if scenes is None else scenes
        scenes = [name for name in places if name not in tested and os.path.lexists(root / name / "images")]
    scenes = tested if scenes is None else scenes
    measured = split != CALIBRATION and any(os.path.isdir(root / name / "ground_truth_depth") for name in scenes)
    for name in scenes:
        place = Place(root / name, measured)
        found.append(Sequence(name, place.frames, place.read))
    return found


@dataclass(frozen=True)
class Place:
    """One scene's folder. Frames are file names such as DSC_0286.JPG."""

    folder: Path
    measured: bool  # whether depth was downloaded: if any scene has it, all need it

    @cached_property
    def undistorted(self) -> "Calibration":
        return Calibration.read(self.folder / "dslr_calibration_undistorted")

    @cached_property
    def distorted(self) -> "Calibration":
        return Calibration.read(self.folder / "dslr_calibration_jpg")

    def image_path(self, frame: str) -> Path:
        return self.folder / "images" / "dslr_images_undistorted" / frame

    def frames(self) -> list[str]:
        """File names in order. Raises SequenceError unless calibration and folder have the same images."""
        listed = set(self.undistorted.images)
        there = set(list_names(self.folder / "images" / "dslr_images_undistorted"))
        if listed != there:
            odd = min(listed ^ there)
            state = "is listed but missing" if odd in listed else "has no calibration"
            raise SequenceError(f"{shown(self.image_path(odd))}: {state}")
        return sorted(listed)

    def read(self, frame: str) -> Frame:
        path = self.image_path(frame)
        camera, extrinsics = self.undistorted.of(frame)
        if camera.model != "PINHOLE":
            raise SequenceError(f"{shown(self.undistorted.folder)}: {frame} has the model {camera.model}, not PINHOLE")
        image = read_image(path)
        if image.size != (camera.width, camera.height):
            raise SequenceError(
                f"{shown(path)}: has {image.width} × {image.height} pixels, "
                f"its calibration is for {camera.width} × {camera.height}"
            )
        depth = self.read_depth(frame, camera) if self.measured else None
        return check_frame(Frame(image, extrinsics, camera.intrinsics(shown(path)), depth), path)

    def read_depth(self, frame: str, camera: ColmapCamera) -> DepthMap:
        stored, _ = self.distorted.of(frame)
        path = self.folder / "ground_truth_depth" / "dslr_images" / frame
        values = read_raw_floats(path, (stored.height, stored.width))
        unknown = np.isposinf(values) | (values == 0)
        return DepthMap(check_depth(values, unknown, path), ~unknown, partial(distort, camera, stored))


def distort(
    undistorted: ColmapCamera, distorted: ColmapCamera, x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where the undistorted image's points x, y lie in the distorted one."""
    fx, fy, cx, cy = undistorted.parameters
    return distorted.pixels((x - cx) / fx, (y - cy) / fy)


@dataclass(frozen=True)
class Calibration:
    folder: Path
    cameras: dict[int, ColmapCamera]
    images: dict[str, ColmapImage]  # by file name, without the folder that COLMAP puts before it

    @classmethod
    def read(cls, folder: Path) -> "Calibration":
        images = read_images(folder / "images.txt")
        by_name = {PurePosixPath(name).name: image for name, image in images.items()}
        if not images or len(by_name) != len(images):
            raise SequenceError(f"{shown(folder / 'images.txt')}: lists no image, or one of them twice")
        return cls(folder, read_cameras(folder / "cameras.txt"), by_name)

    def of(self, frame: str) -> tuple[ColmapCamera, np.ndarray]:
        """Camera and camera-from-world [3, 4] of an image."""
        image = self.images.get(frame)
        camera = self.cameras.get(image.camera) if image else None
        if camera is None:
            raise SequenceError(f"{shown(self.folder)}: {frame} or its camera is not in images.txt and cameras.txt")
        return camera, image.extrinsics


DATASET = DiskDataset(
    name="eth3d",
    unit="metre",
    needs="each scene's dslr_undistorted, dslr_jpg (calibration) and dslr_depth archives, unpacked over one another",
    licence="CC BY-NC-SA 4.0",
    rules={"training": Rule("every", 5), "test": Rule("every", 5), CALIBRATION: CALIBRATION_RULE},
    published={"training": len(SCENES.split()), "test": len(SCENES.split())},
    find=find,
)
