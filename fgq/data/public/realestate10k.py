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

from fgq.data.public.cameras import pinhole, rigid
from fgq.data.public.on_disk import RANDOM, DiskDataset
from fgq.data.reading import list_names, read_image, read_text, to_numbers
from fgq.data.sampling import CALIBRATION, CALIBRATION_RULE, Rule
from fgq.data.sequence import Frame, Sequence, check_frame, fault, shown

SUFFIXES = (".png", ".jpg", ".jpeg")
NUMBERS_A_LINE = 19
DECIMALS = 9  # of every number but the time


def find(root: Path, split: str) -> list[Sequence]:
    """The clips of a split; of "calibration" those of train/ that are not in test/ too."""
    folder = "train" if split == CALIBRATION else split
    tested = set(list_names(root / "test")) if split == CALIBRATION and os.path.lexists(root / "test") else ()
    found = []
    for file in list_names(root / folder):
        if file.endswith(".txt") and file not in tested:
            name = file.removesuffix(".txt")
            clip = Clip(root / folder / file, root / "frames" / folder / name)
            found.append(Sequence(name, clip.frames, clip.read))
    return found


@dataclass(frozen=True)
class Clip:
    cameras: Path
    folder: Path

    def lines(self) -> dict[str, list[str]]:
        """Words of every frame's line by its time. Raises SequenceError for times that do not increase."""
        text = read_text(self.cameras)
        last_word = (text.split() or [""])[-1]
        if not text.endswith("\n") and len(last_word.partition(".")[2]) < DECIMALS:
            raise fault(self.cameras, "its last number is cut off")
        found: dict[str, list[str]] = {}
        last = -1
        for number, line in enumerate(text.splitlines()[1:], start=2):
            words = line.split()
            if not words:
                continue
            if not (words[0].isascii() and words[0].isdigit()) or int(words[0]) <= last:
                begin = f"line {number} begins with {words[0][:20]!r}"
                raise fault(self.cameras, f"{begin}, not with a later time than before")
            last = int(words[0])
            found[words[0]] = words
        return found

    def frames(self) -> list[str]:
        """Times of all frames. Raises SequenceError when an image of one is missing."""
        times = list(self.lines())
        if not times:
            raise fault(self.cameras, "lists no frame")
        there = set(list_names(self.folder))
        missing = [time for time in times if not any(time + suffix in there for suffix in SUFFIXES)]
        if missing:
            told = f"{len(missing)} of {len(times)} listed frames are missing, the first is {missing[0]}"
            raise fault(self.folder, told)
        return times

    def read(self, frame: str) -> Frame:
        where = f"{shown(self.cameras)}: time {frame}"
        words = self.lines().get(frame)
        if words is None:
            raise fault(where, "is not listed")
        numbers = to_numbers(words, NUMBERS_A_LINE, where)
        there = list_names(self.folder)
        path = self.folder / next((frame + suffix for suffix in SUFFIXES if frame + suffix in there), f"{frame}.png")
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
    calibration="the clips of train/ that are not in test/ too",
    find=find,
    choices=RANDOM,
)
load = DATASET.load
