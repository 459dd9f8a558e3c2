"""7-Scenes: hand-held Kinect in seven rooms, RGB-D with poses.

Download: the seven archives chess, fire, heads, office, pumpkin, redkitchen, stairs (.zip) of Microsoft Research's page
"RGB-D Dataset 7-Scenes"; each holds the archives of its sequences, to be unpacked too. Licence: non-commercial research
(Microsoft Research Data License Agreement, in the archives).

    ROOT/chess/TestSplit.txt, TrainSplit.txt          a line "sequence3" means the folder seq-03
    ROOT/chess/seq-03/frame-000000.color.png          640 × 480
    ROOT/chess/seq-03/frame-000000.depth.png          16 bits, millimetres; 0 and 65535 are unknown
    ROOT/chess/seq-03/frame-000000.pose.txt           4 × 4 world-from-camera, metres; OpenCV axes

The stored depth is that of the Kinect's depth camera (focal length 585), not registered to the colour image. Point-map
protocols use depth projected into the colour image (focal length 525), which SimpleRecon's preprocessing writes as
frame-000000.depth.proj.png: depth="projected" reads that. Numbers of the two are not comparable.

Shotton et al., "Scene Coordinate Regression Forests for Camera Relocalization in RGB-D Images", CVPR 2013.
"""

import re
from functools import partial
from pathlib import Path

from fgq.data.public.cameras import inverse, pinhole, rigid
from fgq.data.public.on_disk import RANDOM_OR_STEP, DiskDataset
from fgq.data.reading import coded_depth, list_folders, list_names, read_image, read_text, refuse_missing, to_numbers
from fgq.data.sampling import CALIBRATION, CALIBRATION_RULE, Rule
from fgq.data.sequence import Frame, Sequence, SequenceError, SequenceFailure, check_frame, fault
from fgq.errors import FgqError

SCENES = ("chess", "fire", "heads", "office", "pumpkin", "redkitchen", "stairs")
SPLIT_FILES = {"test": "TestSplit.txt", "train": "TrainSplit.txt"}
DEPTH_FILES = {"sensor": ("depth", 585.0), "projected": ("depth.proj", 525.0)}  # suffix and focal length, pixels
IMAGE_SIZE = (640, 480)  # what the focal lengths are for
UNKNOWN = (0, 65535)  # codes of depth


def find(
    root: Path, split: str, *, scenes: tuple[str, ...] = SCENES, depth: str = "sensor"
) -> list[Sequence | SequenceFailure]:
    """The sequences of a split of some `scenes` ("calibration": those of the train split); `depth`: see above."""
    if depth not in DEPTH_FILES:
        raise FgqError(f"seven_scenes has no depth {depth!r}; choose one of {', '.join(DEPTH_FILES)}")
    found = []
    for scene in scenes:
        try:
            names = split_sequences(root / scene)["train" if split == CALIBRATION else split]
        except SequenceError as error:
            found.append(SequenceFailure(scene, str(error)))
            continue
        for name in names:
            told = root / scene / name, depth
            found.append(Sequence(f"{scene}/{name}", partial(list_frames, *told), partial(read_frame, *told), scene))
    return found


def split_sequences(scene: Path) -> dict[str, list[str]]:
    """Folder names of every split. Raises SequenceError unless each folder on disk is in one of them, and one alone:
    a file that was cut off may name seq-01 instead of seq-14."""
    splits = {split: read_split(scene / name) for split, name in SPLIT_FILES.items()}
    listed = sum(splits.values(), [])
    twice = {name for name in listed if listed.count(name) > 1}
    there = {name for name in list_folders(scene) if re.fullmatch(r"seq-\d\d", name, re.ASCII)}
    odd = min(twice | (there - set(listed)), default=None)
    if odd is not None:
        state = "twice" if odd in twice else "not at all"
        raise fault(scene, f"{odd} stands {state} in {' and '.join(SPLIT_FILES.values())}")
    return splits


def read_split(path: Path) -> list[str]:
    names = []
    for line in read_text(path).split("\n"):
        if line.strip():
            number = re.fullmatch(r"sequence(\d{1,2})", line.strip(), re.ASCII)
            if number is None:
                raise fault(path, f"{line.strip()[:40]!r} is no line such as sequence3")
            names.append(f"seq-{int(number[1]):02d}")
    if not names:
        raise fault(path, "names no sequence")
    return names


def list_frames(folder: Path, depth: str) -> list[str]:
    """Ids such as 000200. Raises SequenceError unless they count from 0 without a gap, each with all its files."""
    found = (re.fullmatch(r"frame-(\d{6})\..+", name, re.ASCII) for name in list_names(folder))
    last = max((int(match[1]) for match in found if match), default=0)
    suffixes = ("color.png", f"{DEPTH_FILES[depth][0]}.png", "pose.txt")
    refuse_missing(folder, (f"frame-{number:06d}.{suffix}" for number in range(last + 1) for suffix in suffixes))
    return [f"{number:06d}" for number in range(last + 1)]


def read_frame(folder: Path, depth: str, frame: str) -> Frame:
    suffix, focal = DEPTH_FILES[depth]
    colour, stored, pose = (folder / f"frame-{frame}.{part}" for part in ("color.png", f"{suffix}.png", "pose.txt"))
    image = read_image(colour, IMAGE_SIZE)
    extrinsics = inverse(rigid(to_numbers(read_text(pose).split(), 16, pose).reshape(4, 4), pose))
    intrinsics = pinhole(focal, focal, IMAGE_SIZE[0] / 2, IMAGE_SIZE[1] / 2, "7-Scenes")
    return check_frame(Frame(image, extrinsics, intrinsics, coded_depth(stored, 1000, UNKNOWN)), stored)


DATASET = DiskDataset(
    name="seven_scenes",
    unit="metre",
    needs="the unpacked scenes chess, fire, heads, office, pumpkin, redkitchen, stairs with their seq-NN folders",
    licence="Microsoft Research Data License, non-commercial",
    rules={"test": Rule("every", 200), "train": Rule("every", 200), CALIBRATION: CALIBRATION_RULE},
    published={"test": 18},
    calibration="the sequences of the rooms' train lists",
    find=find,
    choices=RANDOM_OR_STEP,
)
load = DATASET.load
