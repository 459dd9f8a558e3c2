"""The tidy table of results, one row a scene and metric, and what can honestly be said of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fgq.errors import FgqError
from fgq.evaluation.intervals import mean_interval
from fgq.evaluation.metrics import METRICS

MODEL = ["recipe", "weight_bits", "activation_bits"]  # what one row of a summary is about
COLUMNS = [*MODEL, "seed", "dataset", "scene", "task", "metric", "value", "unit", "valid_pixels", "seconds", "note"]


@dataclass(frozen=True)
class Report:
    """Results of one or several models; `frame` has the columns of `COLUMNS`. Raises FgqError when one is missing."""

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
            return cls(
                pd.read_csv(path, keep_default_na=False, na_values={"value": [""]}, dtype={"value": float, "unit": str, "seconds": float})
            )
        except (pd.errors.ParserError, UnicodeDecodeError) as error:
            raise FgqError(f"{path}: not a report ({error})") from error

    def means(self, metrics: Iterable[str] | None = None, prefix: str = "") -> pd.Series:
        """Mean over scenes (and seeds) of each metric, by name, in the table's order."""
        frame = self.frame
        chosen = list(metrics) if metrics is not None else [m for m in frame.metric.unique() if m.startswith(prefix)]
        return frame.groupby("metric", sort=False).value.mean().reindex(chosen)

    def summary(self) -> pd.DataFrame:
        """Mean, 95 % interval, number of seeds and of scenes, by model and metric; `failed` counts empty values."""
        rows = []
        for (*model, metric), part in self.frame.groupby([*MODEL, "metric"], sort=False):
            table = by_seed_and_scene(part)
            failed = int(np.isnan(table).any(axis=0).sum())
            mean, low, high = mean_interval(table) if not failed else (np.nan, np.nan, np.nan)
            rows.append([*model, metric, part.unit.iloc[0], mean, low, high, *table.shape, failed])
        columns = [*MODEL, "metric", "unit", "mean", "low", "high", "seeds", "scenes", "failed"]
        return pd.DataFrame(rows, columns=columns)

    def compare(self, reference: "Report") -> pd.DataFrame:
        """Paired difference to `reference` on the same scenes, by model and metric, with a 95 % interval.

        Negative is lower, whichever way is better; `better` says whether the interval lies on the good side of zero,
        `worse` on the bad one. `npd` is the harm in percent of the reference's mean (FGQ's normalised performance
        degradation: positive means worse). The reference has one seed, or the same seeds (then paired by seed too).
        Raises FgqError when the scenes differ or the reference holds several models.
        """
        if len(reference.frame[MODEL].drop_duplicates()) != 1:
            raise FgqError("the reference report holds several models: choose one with .only(recipe=…)")
        rows = []
        for (*model, metric), part in self.frame.groupby([*MODEL, "metric"], sort=False):
            theirs = reference.frame[reference.frame.metric == metric]
            if theirs.empty:
                continue
            check_same_scenes(part, theirs)
            scenes = part.scene.unique()
            mine, base = by_seed_and_scene(part, scenes), by_seed_and_scene(theirs, scenes)
            if len(base) not in (1, len(mine)):
                raise FgqError(f"{len(mine)} seeds cannot be paired with the reference's {len(base)}")
            difference = mine - base
            if np.isnan(difference).any():
                mean = low = high = np.nan
            else:
                mean, low, high = mean_interval(difference)
            sign = 1 if METRICS[metric].higher_is_better else -1
            npd = -100 * sign * mean / base.mean() if base.mean() else np.nan
            good, bad = (low > 0, high < 0) if sign > 0 else (high < 0, low > 0)
            rows.append([*model, metric, part.unit.iloc[0], mean, low, high, npd, good, bad, *difference.shape])
        columns = [*MODEL, "metric", "unit", "difference", "low", "high", "npd", "better", "worse", "seeds", "scenes"]
        return pd.DataFrame(rows, columns=columns)

    def only(self, **chosen) -> "Report":
        """The rows whose columns have these values, such as only(recipe="fgq", weight_bits=4)."""
        frame = self.frame
        for column, value in chosen.items():
            frame = frame[frame[column] == value]
        if frame.empty:
            raise FgqError(f"the report has no rows with {chosen}")
        return Report(frame.reset_index(drop=True))


def combine(reports: Iterable[Report]) -> Report:
    """All rows of several reports, such as one a seed."""
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


def check_same_scenes(mine: pd.DataFrame, theirs: pd.DataFrame) -> None:
    a, b = set(mine.scene), set(theirs.scene)
    if a != b:
        odd = sorted(a ^ b)[0]
        raise FgqError(
            f"the reports are of different scenes ({len(a - b)} only here, {len(b - a)} only in the reference, "
            f"such as {odd}): evaluate both on the same ones"
        )
