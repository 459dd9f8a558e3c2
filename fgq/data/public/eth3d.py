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
from pathlib import Path

import numpy as np

from fgq.data.public.colmap import Calibration, ColmapCamera, read_calibration
from fgq.data.public.on_disk import RANDOM_OR_STEP, DiskDataset
from fgq.data.reading import list_folders, list_names, read_bytes, read_image, to_floats
from fgq.data.sampling import CALIBRATION, CALIBRATION_RULE, Rule
from fgq.data.sequence import DepthMap, Frame, Sequence, check_depth, check_frame, fault

# ETH3D's own training scenes, which alone come with the truth: published evaluations of VGGT are on these.
SCENES = "courtyard delivery_area electro facade kicker meadow office pipes playground relief relief_2 terrace terrains"


def find(root: Path, split: str, *, scenes: tuple[str, ...] | None = None) -> list[Sequence]:
    """The 13 scenes, called training or test; or each other scene on disk, without depth ("calibration").

    `scenes` are some of a split's.
    """
    tested = SCENES.split()
    if split == CALIBRATION:
        places = list_folders(root) if scenes is None else scenes
        scenes = [name for name in places if name not in tested and os.path.lexists(root / name / "images")]
    scenes = tested if scenes is None else scenes
    measured = split != CALIBRATION and any(os.path.isdir(root / name / "ground_truth_depth") for name in scenes)
    places = [Place(root / name, measured) for name in scenes]
    return [Sequence(name, place.frames, place.read) for name, place in zip(scenes, places, strict=True)]


@dataclass(frozen=True)
class Place:
    """One scene's folder. Frames are file names such as DSC_0286.JPG."""

    folder: Path
    measured: bool  # whether depth was downloaded: if any scene has it, all need it

    @cached_property
    def undistorted(self) -> Calibration:
        return read_calibration(self.folder / "dslr_calibration_undistorted")

    @cached_property
    def distorted(self) -> Calibration:
        return read_calibration(self.folder / "dslr_calibration_jpg")

    @property
    def images(self) -> Path:
        return self.folder / "images" / "dslr_images_undistorted"

    def frames(self) -> list[str]:
        """File names in order. Raises SequenceError unless calibration and folder have the same images."""
        listed, there = set(self.undistorted.images), set(list_names(self.images))
        if listed != there:
            odd = min(listed ^ there)
            raise fault(self.images / odd, "is listed but missing" if odd in listed else "has no calibration")
        return sorted(listed)

    def read(self, frame: str) -> Frame:
        path = self.images / frame
        camera, extrinsics = self.undistorted.of(frame)
        if camera.model != "PINHOLE":
            raise fault(self.undistorted.folder, f"{frame} has the model {camera.model}, not PINHOLE")
        image = read_image(path, (camera.width, camera.height))
        depth = self.read_depth(frame, camera) if self.measured else None
        return check_frame(Frame(image, extrinsics, camera.intrinsics(path), depth), path)

    def read_depth(self, frame: str, camera: ColmapCamera) -> DepthMap:
        stored, _ = self.distorted.of(frame)
        path = self.folder / "ground_truth_depth" / "dslr_images" / frame
        values = to_floats(read_bytes(path), (stored.height, stored.width), path)
        unknown = np.isposinf(values) | (values == 0)
        return DepthMap(check_depth(values, unknown, path), ~unknown, partial(distort, camera, stored))


def distort(
    undistorted: ColmapCamera, distorted: ColmapCamera, x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where the undistorted image's points x, y lie in the distorted one."""
    fx, fy, cx, cy = undistorted.parameters
    return distorted.pixels((x - cx) / fx, (y - cy) / fy)


DATASET = DiskDataset(
    name="eth3d",
    unit="metre",
    needs="each scene's dslr_undistorted, dslr_jpg (calibration) and dslr_depth archives, unpacked over one another",
    licence="CC BY-NC-SA 4.0",
    rules={"training": Rule("every", 5), "test": Rule("every", 5), CALIBRATION: CALIBRATION_RULE},
    published={"training": len(SCENES.split()), "test": len(SCENES.split())},
    calibration="every scene on disk that is not of the test, without depth",
    find=find,
    choices=RANDOM_OR_STEP,
)
load = DATASET.load
