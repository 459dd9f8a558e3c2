"""Scenes that are named category/sequence, averaged by category first (the protocol of CO3D's pose numbers)."""

import hashlib

import pandas as pd

from fgq.errors import FgqError

SEPARATOR = "/"
AVERAGED = "run model recipe weight_bits activation_bits seed dataset split task metric unit".split()
AVERAGED += ["higher_is_better", "device", "clouds", "calibration", "calibration_list"]


def by_category(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of a report with one row a category, model, seed and metric: its `scene` is the category.

    `value` and `seconds` are means over the category's scenes, `valid_pixels` their sum, `frames` a hash of theirs. A
    scene with an empty value empties its category's, with a note that counts such scenes. Raises FgqError for a scene
    whose name holds no category.
    """
    nameless = frame[~frame.scene.str.contains(SEPARATOR, regex=False)]
    if len(nameless):
        raise FgqError(f"scene {nameless.scene.iloc[0]} names no category: only category/sequence can be averaged so")
    categories = frame.scene.str.rpartition(SEPARATOR)[0]
    keys = [column for column in AVERAGED if column in frame]
    rows = []
    for (*kept, category), part in frame.groupby([*keys, categories], sort=False, dropna=False):
        empty = int(part.value.isna().sum())
        row = dict(zip(keys, kept, strict=True)) | {
            "scene": category,
            "value": part.value.mean(skipna=False),
            "valid_pixels": part.valid_pixels.sum(),
            "seconds": part.seconds.mean(),
            "note": f"{empty} of {len(part)} scenes have no value" if empty else "",
        }
        if "frame_list" in part:
            row["frame_list"] = ",".join(sorted(set(part.frame_list.fillna(""))))
        if "frames" in part:
            row["frames"] = joint_hash(part)
        rows.append(row)
    return pd.DataFrame(rows)[list(frame.columns)]


def joint_hash(part: pd.DataFrame) -> str:
    """Of scenes and their frames together; empty where one is not known."""
    pairs = sorted(zip(part.scene, part.frames.fillna(""), strict=True))
    if not all(frames for _, frames in pairs):
        return ""
    return hashlib.sha256(repr(pairs).encode()).hexdigest()[:16]
