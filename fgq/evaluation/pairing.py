"""Values of a report by seed and scene or by category, and what must agree for two reports to be paired."""

import hashlib
from collections.abc import Iterable

import numpy as np
import pandas as pd

from fgq.errors import FgqError
from fgq.metrics.table import CLOUDS, METRICS

SEPARATOR = "/"
AVERAGED = "run model recipe weight_bits activation_bits seed dataset split task metric unit".split()
AVERAGED += ["higher_is_better", "device", "clouds", "calibration", "calibration_list", "protocol", "departures"]


def by_seed_and_scene(part: pd.DataFrame, scenes: Iterable[str] | None = None) -> np.ndarray:
    """Values of one model and metric as [seeds, scenes]; raises FgqError where one is there twice or missing."""
    repeated = part.duplicated(["seed", "scene"])
    if repeated.any():
        row = part[repeated].iloc[0]
        raise FgqError(f"the report holds {row.metric} of scene {row.scene}, seed {row.seed}, more than once")
    present = part.assign(there=1).pivot(index="seed", columns="scene", values="there")
    if present.isna().any().any():
        seed, scene = present.isna().stack().idxmax()
        raise FgqError(f"the report has no {part.metric.iloc[0]} of scene {scene} for seed {seed}")
    table = part.pivot(index="seed", columns="scene", values="value")
    return table[list(scenes) if scenes is not None else part.scene.unique()].to_numpy(float)


def paired(mine: pd.DataFrame, theirs: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Of one model and metric: difference on my scenes [seeds, scenes], and the other's values, of one seed or all."""
    scenes = mine.scene.unique()
    base = by_seed_and_scene(theirs, scenes)
    return by_seed_and_scene(mine, scenes) - base, base


def check_one_set(frame: pd.DataFrame) -> None:
    """Raises FgqError for several datasets or protocols; rows that name no protocol, as earlier ones, go with any."""
    for column in ("dataset", "protocol"):
        names = sorted(set(frame[column].fillna("")) - {""}) if column in frame else []
        if len(names) > 1:
            raise FgqError(f"there are results of several {column}s ({', '.join(names)}): choose .only({column}=…)")


def check_same_seeds(mine: pd.DataFrame, theirs: pd.DataFrame) -> None:
    a, b = (sorted(int(seed) for seed in part.seed.unique()) for part in (mine, theirs))
    if len(b) != 1 and a != b:
        raise FgqError(f"seeds {a} cannot be paired with the reference's {b}: evaluate the same, or one reference")


def check_same_scenes(mine: pd.DataFrame, theirs: pd.DataFrame) -> None:
    """Raises FgqError when names, frames or pixels differ: the same clip at another size is another scene."""
    a, b = set(mine.scene), set(theirs.scene)
    if a != b:
        odd = sorted(a ^ b)[0]
        raise FgqError(
            f"the reports are of different scenes ({len(a - b)} only here, {len(b - a)} only in the reference, "
            f"such as {odd}): evaluate both on the same ones"
        )
    both = pd.concat([mine, theirs])
    if "frames" in both:
        known = both[both.frames.fillna("") != ""].groupby("scene").frames.nunique()
        if (known > 1).any():
            raise FgqError(f"the reports are of different frames of {known.idxmax()}: use one frame_list= for both")
    if "clouds" in both and METRICS[mine.metric.iloc[0]].group in CLOUDS:
        counts = sorted(set(both.clouds.fillna("")) - {""})
        if len(counts) > 1:
            raise FgqError(f"the reports looked up {' and '.join(counts)} points of a cloud: use one clouds= for both")
    pixels = both.groupby("scene").valid_pixels.unique()
    odd = pixels[pixels.map(len) > 1]
    if len(odd):
        raise FgqError(
            f"the reports are of different scenes: {odd.index[0]} has {' and '.join(map(str, odd.iloc[0]))} valid "
            "pixels: evaluate both on the same frames and image size"
        )


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
