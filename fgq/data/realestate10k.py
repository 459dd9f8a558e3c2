"""RealEstate10K: clips of house tours with SLAM cameras, no depth.

Download: RealEstate10K.tar.gz (camera files only), google.github.io/realestate10k; licence CC BY 4.0. The frames are of
videos on YouTube, under their owners' terms, to be cut by the reader at the listed times; videos vanish, so numbers are
comparable only on the same frame list.

    ROOT/test/0c4c5d5f751aabf5.txt                        first line: the video's address; then a line a frame:
                                                          time in µs, fx fy cx cy (by width and height), 0 0,
                                                          3 × 4 camera-from-world, OpenCV axes, row by row
    ROOT/frames/test/0c4c5d5f751aabf5/52553000.png        or .jpg; any size

Lengths have no unit. Zhou et al., "Stereo Magnification", SIGGRAPH 2018.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fgq.data.about import CALIBRATION, CALIBRATION_RULE
from fgq.data.cameras import pinhole, rigid
from fgq.data.on_disk import DiskDataset, LoadedScenes
from fgq.data.reading import list_names, read_image, read_text, to_numbers
from fgq.data.sampling import FrameList, Rule
from fgq.data.sequence import Frame, Sequence, SequenceError, SequenceFailure, check_frame, shown

SUFFIXES = (".png", ".jpg", ".jpeg")
NUMBERS_A_LINE = 19
DECIMALS = 9  # of every number but the time


def load(
    root: str | Path | None = None,
    split: str = "test",
    count: int | None = None,
    frames: int | None = None,
    seed: int | None = None,
    size: int | tuple[int, int] = 518,
    patch_size: int = 14,
    frame_list: str | Path | FrameList | None = None,
) -> LoadedScenes:
    """Scenes of normalised unit with cameras alone: 10 random frames of every clip in order of time, unless told.

    split="calibration" has 4 frames of the clips of train/ that are not in test/ too. Raises FgqError; clips that
    cannot be read are in `.failures`.
    """
    rule = None if frames is None else Rule("random", frames)
    return DATASET.select(root, split, rule, count, seed, frame_list).read(size, patch_size)


def find(root: Path, split: str) -> list[Sequence | SequenceFailure]:
    found = []
    folder = "train" if split == CALIBRATION else split
    tested = set(list_names(root / "test")) if split == CALIBRATION and os.path.lexists(root / "test") else ()
    for name in list_names(root / folder):
        if name.endswith(".txt") and name not in tested:
            clip = Clip(root / folder / name, root / "frames" / folder / name.removesuffix(".txt"))
            found.append(Sequence(name.removesuffix(".txt"), clip.frames, clip.read))
    return found


def decimals(text: str) -> int:
    """Digits behind the point of a text's last word."""
    last = (text.split() or [""])[-1]
    return len(last.partition(".")[2])


@dataclass(frozen=True)
class Clip:
    cameras: Path
    folder: Path

    def lines(self) -> dict[str, list[str]]:
        """Words of every frame's line by its time. Raises SequenceError for times that do not increase."""
        found: dict[str, list[str]] = {}
        last = -1
        text = read_text(self.cameras)
        if not text.endswith("\n") and decimals(text) < DECIMALS:
            raise SequenceError(f"{shown(self.cameras)}: its last number is cut off")
        for number, line in enumerate(text.splitlines()[1:], start=2):
            words = line.split()
            if not words:
                continue
            if not (words[0].isascii() and words[0].isdigit()) or int(words[0]) <= last:
                raise SequenceError(
                    f"{shown(self.cameras)}: line {number} begins with {words[0][:20]!r}, "
                    "not with a later time than before"
                )
            last = int(words[0])
            found[words[0]] = words
        return found

    def frames(self) -> list[str]:
        """Times of all frames. Raises SequenceError when an image of one is missing."""
        times = list(self.lines())
        if not times:
            raise SequenceError(f"{shown(self.cameras)}: lists no frame")
        there = set(list_names(self.folder))
        missing = [time for time in times if not any(time + suffix in there for suffix in SUFFIXES)]
        if missing:
            raise SequenceError(
                f"{shown(self.folder)}: {len(missing)} of {len(times)} listed frames are missing, "
                f"the first is {missing[0]}"
            )
        return times

    def read(self, frame: str) -> Frame:
        where = f"{shown(self.cameras)}: time {frame}"
        words = self.lines().get(frame)
        if words is None:
            raise SequenceError(f"{where}: is not listed")
        numbers = to_numbers(words, NUMBERS_A_LINE, where)
        there = list_names(self.folder)
        path = next((self.folder / (frame + s) for s in SUFFIXES if frame + s in there), self.folder / f"{frame}.png")
        image = read_image(path)
        focal_x, focal_y, x, y = numbers[1:5] * np.array([image.width, image.height] * 2)
        motion = rigid(numbers[7:].reshape(3, 4), where)
        return check_frame(Frame(image, motion, pinhole(focal_x, focal_y, x, y, where)), path)


DATASET = DiskDataset(
    name="realestate10k",
    unit="normalised",
    needs="the camera files as test/*.txt, train/*.txt and the videos' frames as frames/test/CLIP/TIME.png or .jpg",
    licence="cameras CC BY 4.0; the videos are their owners'",
    rules={"test": Rule("random", 10), "train": Rule("random", 10), CALIBRATION: CALIBRATION_RULE},
    published={"test": 1719},
    find=find,
)
