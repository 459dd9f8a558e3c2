"""Which frames a result is of, and rows for the sequences that could not be read."""

import math

from fgq.data.loaded import LoadedScenes
from fgq.data.scene import Scene

HASH_DIGITS = 16  # of the 64 hexadecimal digits of a frame list's hash, in every row of a report


def frames_hash(scenes: list[Scene]) -> str:
    """The beginning of the hash of the frame list that the scenes were loaded by; empty for scenes made by hand."""
    return scenes.frame_list.hash[:HASH_DIGITS] if isinstance(scenes, LoadedScenes) else ""


def scene_frames_hash(scenes: list[Scene], name: str) -> str:
    """The same of one scene's frames alone: equal in two results exactly when they are of the same frames."""
    if not isinstance(scenes, LoadedScenes) or name not in scenes.frame_list.sequences:
        return ""
    return scenes.frame_list.only([name]).hash[:HASH_DIGITS]


def unread_rows(rows: list[dict], scenes: list[Scene]) -> list[dict]:
    """For every sequence that failed to load, each metric of `rows` with an empty value and the reason as its note."""
    if not isinstance(scenes, LoadedScenes):
        return []
    like = {row["metric"]: row for row in rows}
    found = []
    for failure in scenes.failures:
        frames = scene_frames_hash(scenes, failure.sequence)
        empty = {"scene": failure.sequence, "value": math.nan, "valid_pixels": 0, "note": failure.reason}
        found += [row | empty | {"frames": frames} for row in like.values()]
    return found
