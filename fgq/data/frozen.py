"""Frame lists that a run keeps: what is asked for again, by a later attempt or chapter, gives the same frames.

While the environment variable FGQ_FRAME_LISTS names a folder, `fgq.load_scenes` saves the frames of everything that it
loads there, and takes those that it finds there instead of choosing again: a folder of downloads that has grown or lost
files since then changes no result in silence.
"""

import hashlib
import json
import os
import time
from pathlib import Path

from fgq.data.loaded import LoadedScenes
from fgq.data.sampling import FrameList
from fgq.data.sequence import shown

VARIABLE = "FGQ_FRAME_LISTS"
CHOOSING = ("count", "frames", "every", "seed")  # what a frame list stands for
IRRELEVANT = ("root", "size", "patch_size")  # where the frames lie and how large they are made, not which


def frozen_path(dataset: str, given: dict) -> Path | None:
    """Where the frames of this request are kept; None outside a run."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        return None
    asked = {name: value for name, value in given.items() if name not in IRRELEVANT}
    text = json.dumps(asked, sort_keys=True, default=lambda value: getattr(value, "hash", str(value)))
    split = f"-{given['split']}" if isinstance(given.get("split"), str) else ""
    return Path(folder) / f"{dataset}{split}-{hashlib.sha256(text.encode()).hexdigest()[:10]}.json"


def with_frozen_frames(given: dict, path: Path) -> dict:
    """The request with the frames of `path` in the place of what chooses frames."""
    return {name: value for name, value in given.items() if name not in CHOOSING} | {"frame_list": path}


def freeze(scenes: LoadedScenes, path: Path) -> None:
    """Saves the frames of loaded scenes.

    A list that lacks a sequence, because its frames could not be listed, is kept beside as a record, not to be reused:
    the next attempt would no longer ask for that sequence.
    """
    listed = scenes.frame_list.sequences
    whole = all(failure.sequence in listed for failure in scenes.failures)
    scenes.frame_list.save(path if whole else path.with_suffix(".incomplete.json"))


def frozen_hashes(folder: Path, since: float = 0.0) -> dict[str, str]:
    """Hash by file of the frame lists in `folder` that were saved or used after `since` (seconds since 1970)."""
    files = sorted(file for file in folder.glob("*.json") if file.stat().st_mtime >= since)
    return {shown(file.name): FrameList.load(file).hash for file in files}


def now() -> float:
    """A time no later than that of a file written next: file systems' clocks tick coarsely."""
    return time.time() - 0.1
