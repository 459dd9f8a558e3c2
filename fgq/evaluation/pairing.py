"""Values of a report as a table of seeds and scenes, and what must agree for two reports to be paired."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from fgq.errors import FgqError
from fgq.metrics.table import CLOUDS, METRICS


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


def check_one_dataset(frame: pd.DataFrame) -> None:
    datasets = sorted(frame.dataset.unique())
    if len(datasets) > 1:
        raise FgqError(
            f"there are results of several datasets ({', '.join(datasets)}): choose one with .only(dataset=…)"
        )


def check_same_seeds(mine: pd.DataFrame, theirs: pd.DataFrame) -> None:
    a, b = (sorted(int(seed) for seed in part.seed.unique()) for part in (mine, theirs))
    if len(b) != 1 and a != b:
        raise FgqError(
            f"seeds {a} cannot be paired with the reference's {b}: evaluate the same seeds, or one reference"
        )


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
            raise FgqError(
                f"the reports are of different frames of {known.idxmax()}: evaluate both with one frame_list="
            )
    if "clouds" in both and METRICS[mine.metric.iloc[0]].group in CLOUDS:
        counts = sorted(set(both.clouds.fillna("")) - {""})
        if len(counts) > 1:
            raise FgqError(
                f"the reports looked up {' and '.join(counts)} points of a cloud: evaluate both with one clouds="
            )
    pixels = both.groupby("scene").valid_pixels.unique()
    odd = pixels[pixels.map(len) > 1]
    if len(odd):
        raise FgqError(
            f"the reports are of different scenes: {odd.index[0]} has {' and '.join(map(str, odd.iloc[0]))} valid "
            "pixels: evaluate both on the same frames and image size"
        )
