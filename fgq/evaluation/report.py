"""The tidy table of results, one row a scene and metric, and what can honestly be said of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fgq.errors import FgqError
from fgq.evaluation.intervals import mean_interval

MODEL = ["recipe", "weight_bits", "activation_bits"]  # what one row of a summary is about
COLUMNS = ["run", *MODEL, "seed", "dataset", "scene", "task", "metric", "value", "unit", "higher_is_better"]
COLUMNS += ["valid_pixels", "seconds", "note"]
FRAMES = ["frame_list", "frames"]
TYPES = {"value": float, "seconds": float, "higher_is_better": bool, "run": str, "unit": str, "scene": str, "note": str}
TYPES |= dict.fromkeys(FRAMES, str)


@dataclass(frozen=True)
class Report:
    """Results of one or several models; `frame` has the columns of `COLUMNS`. Raises FgqError when one is missing.

    Where there are further columns, frame_list is the hash of all frames of an evaluation, frames that of the scene's.

    A number of a set is the mean of its scenes' numbers, AUC included (each scene's own pairs first, then scenes).
    """

    frame: pd.DataFrame

    def __post_init__(self):
        missing = [column for column in COLUMNS if column not in self.frame]
        if missing:
            raise FgqError(f"a report needs the columns {', '.join(missing)}")

    @property
    def scenes(self) -> list[str]:
        return self.frame.scene.unique().tolist()

    def save(self, path: str | Path) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self.frame.to_csv(path, index=False, float_format="%.9g")

    @classmethod
    def load(cls, path: str | Path) -> "Report":
        if not Path(path).is_file():
            raise FgqError(f"{path}: no such report; run the evaluation first")
        try:
            frame = pd.read_csv(path, keep_default_na=False, na_values={"value": [""]}, dtype=TYPES)
        except (ValueError, UnicodeDecodeError) as error:
            raise FgqError(f"{path}: not a report ({error})") from error
        return cls(frame)

    def means(self, metrics: Iterable[str] | None = None, prefix: str = "") -> pd.Series:
        """Mean over scenes (and seeds) of each metric, in the table's order; NaN where a scene has no value."""
        frame = self.frame
        chosen = list(metrics) if metrics is not None else [m for m in frame.metric.unique() if m.startswith(prefix)]
        return frame.groupby("metric", sort=False).value.mean(skipna=False).reindex(chosen)

    def summary(self, seed: int = 0) -> pd.DataFrame:
        """Mean, 95 % interval, number of seeds and of scenes, by model and metric.

        `failed` counts scenes with an empty value; the mean of the others would be of another set, so there is none.
        `seed` is the bootstrap's. Raises FgqError when the report holds several datasets.
        """
        check_one_dataset(self.frame)
        rows = []
        for (*model, metric), part in self.frame.groupby([*MODEL, "metric"], sort=False):
            table = by_seed_and_scene(part)
            failed = int(np.isnan(table).any(axis=0).sum())
            mean, low, high = mean_interval(table, seed) if not failed else (np.nan, np.nan, np.nan)
            rows.append([*model, metric, part.unit.iloc[0], mean, low, high, *table.shape, failed])
        columns = [*MODEL, "metric", "unit", "mean", "low", "high", "seeds", "scenes", "failed"]
        return pd.DataFrame(rows, columns=columns)

    def compare(self, reference: "Report", seed: int = 0) -> pd.DataFrame:
        """Paired difference to `reference` on the same scenes, by model and metric, with a 95 % interval.

        Negative is lower, whichever way is better; `better` says whether the interval lies on the good side of zero,
        `worse` on the bad one. `npd` is the harm in percent of the reference's mean (FGQ's normalised performance
        degradation: positive means worse). The reference has one seed, or the same seeds (then paired by seed too);
        the interval then covers the draw of seeds and the draw of scenes. Metrics that the reference lacks are left
        out. `seed` is the bootstrap's. Raises FgqError when scenes, their valid pixels, datasets or seeds differ, when
        the reference holds several models, or when both share no metric.
        """
        check_one_dataset(pd.concat([self.frame, reference.frame]))
        if len(reference.frame[MODEL].drop_duplicates()) != 1:
            raise FgqError("the reference report holds several models: choose one with .only(recipe=…)")
        rows = []
        for (*model, metric), part in self.frame.groupby([*MODEL, "metric"], sort=False):
            theirs = reference.frame[reference.frame.metric == metric]
            if theirs.empty:
                continue
            check_same_scenes(part, theirs)
            scenes = part.scene.unique()
            check_same_seeds(part, theirs)
            mine, base = by_seed_and_scene(part, scenes), by_seed_and_scene(theirs, scenes)
            difference = mine - base
            if np.isnan(difference).any():
                mean = low = high = np.nan
            else:
                mean, low, high = mean_interval(difference, seed)
            sign = 1 if part.higher_is_better.iloc[0] else -1
            npd = -100 * sign * mean / abs(base.mean()) if base.mean() else np.nan
            good, bad = (low > 0, high < 0) if sign > 0 else (high < 0, low > 0)
            rows.append([*model, metric, part.unit.iloc[0], mean, low, high, npd, good, bad, *difference.shape])
        if not rows:
            raise FgqError("the two reports share no metric")
        columns = [*MODEL, "metric", "unit", "difference", "low", "high", "npd", "better", "worse", "seeds", "scenes"]
        return pd.DataFrame(rows, columns=columns)

    def to_markdown(self, digits: int = 4) -> str:
        """The summary as a Markdown table: mean with interval, seeds × scenes."""
        lines = ["| recipe | bits | metric | unit | mean [95 % interval] | seeds × scenes | failed |", "|" + "---|" * 7]
        for row in self.summary().itertuples():
            mean, low, high = (f"{value:.{digits}g}" for value in (row.mean, row.low, row.high))
            bits = f"W{row.weight_bits}A{row.activation_bits}"
            cells = [row.recipe, bits, row.metric, row.unit, f"{mean} [{low}, {high}]"]
            lines.append("| " + " | ".join([*cells, f"{row.seeds} × {row.scenes}", str(row.failed)]) + " |")
        return "\n".join(lines)

    def only(self, **chosen) -> "Report":
        """The rows whose columns have these values, such as only(recipe="fgq", weight_bits=4)."""
        frame = self.frame
        for column, value in chosen.items():
            frame = frame[frame[column] == value]
        if frame.empty:
            raise FgqError(f"the report has no rows with {chosen}")
        return Report(frame.reset_index(drop=True))


def combine(reports: Iterable[Report]) -> Report:
    """All rows of several reports, such as one a seed. Raises FgqError for none."""
    reports = list(reports)
    if not reports:
        raise FgqError("no reports to combine")
    return Report(pd.concat([report.frame for report in reports], ignore_index=True))


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
    pixels = both.groupby("scene").valid_pixels.unique()
    odd = pixels[pixels.map(len) > 1]
    if len(odd):
        raise FgqError(
            f"the reports are of different scenes: {odd.index[0]} has {' and '.join(map(str, odd.iloc[0]))} valid "
            "pixels: evaluate both on the same frames and image size"
        )
