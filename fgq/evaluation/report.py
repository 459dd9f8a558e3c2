"""The tidy table of results, one row a scene and metric, and what can honestly be said of it."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_integer_dtype, is_numeric_dtype

from fgq.errors import FgqError
from fgq.evaluation.pages import html_page, summary_markdown
from fgq.evaluation.pairing import (
    by_category,
    by_seed_and_scene,
    check_one_set,
    check_same_scenes,
    check_same_seeds,
    paired,
)
from fgq.evaluation.statistics import gain_test, mean_interval
from fgq.metrics.table import METRICS
from fgq.quant.bits import Bits
from fgq.writing import check_file, reason, write_text

MODEL = ["recipe", "weight_bits", "activation_bits"]  # what one row of a summary is about
COLUMNS = ["run", *MODEL, "seed", "dataset", "scene", "task", "metric", "value", "unit", "higher_is_better"]
COLUMNS += ["valid_pixels", "seconds", "note"]
# Reports of earlier versions lack them.
FURTHER = ["model", "split", "frame_list", "frames", "device", "clouds", "calibration", "calibration_list"]
FURTHER += ["protocol", "departures"]
TEXTS = ["run", "recipe", "dataset", "scene", "task", "metric", "unit", "note", *FURTHER]
KINDS = {  # of the other columns: what pandas makes of them when all is well
    **dict.fromkeys(["weight_bits", "activation_bits", "seed", "valid_pixels"], ("whole numbers", is_integer_dtype)),
    **dict.fromkeys(["value", "seconds"], ("numbers", is_numeric_dtype)),
    "higher_is_better": ("True and False", is_bool_dtype),
}
# A spreadsheet takes a cell that starts so for a formula, and runs it; an apostrophe before it says that it is a text.
FORMULA = r"^('*[=+\-@\t\r])"


@dataclass(frozen=True)
class Report:
    """Results of one or several models; `frame` has the columns of `COLUMNS`. Raises FgqError when one is missing.

    Where there are further columns, model names the full-precision weights, split is the scene's, frame_list the hash
    of all frames of an evaluation, frames that of the scene's, device where the model ran, clouds how many points of a
    cloud were looked up; calibration is the dataset and split that a quantized model was calibrated on,
    calibration_list the hash of those frames; protocol is the published evaluation that the scenes were loaded by, and
    departures in what they were not.

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
        """Whole or not at all. Raises FgqError where the disk does not take it."""
        write_text(check_file(path), self.to_csv(), "the report")

    @classmethod
    def load(cls, path: str | Path) -> "Report":
        """Reads what `save` wrote. Raises FgqError, naming file and column, for anything else."""
        if not Path(path).is_file():
            raise FgqError(f"{path}: no such report; run the evaluation first")
        empty = {"value": [""], "seconds": [""]}
        try:
            frame = pd.read_csv(path, keep_default_na=False, na_values=empty, dtype=dict.fromkeys(TEXTS, str))
            report = cls(frame)
        except (ValueError, OSError) as error:
            raise FgqError(f"{path}: not a report ({reason(error)})") from error
        for column, (what, is_kind) in KINDS.items():
            if column in frame and len(frame) and not is_kind(frame[column]):
                raise FgqError(f"{path}: column {column} holds something else than {what}: correct or make it again")
        for column in report.frame.columns.intersection(TEXTS):
            frame[column] = frame[column].str.replace("^'" + FORMULA[1:], r"\1", regex=True)
        return cls(frame.astype({"value": float, "seconds": float}))

    def means(self, metrics: Iterable[str] | None = None) -> pd.Series:
        """Mean over scenes (and seeds) of each metric, in the table's order; NaN where a scene has no value."""
        means = self.frame.groupby("metric", sort=False).value.mean(skipna=False)
        return means if metrics is None else means.reindex(list(metrics))

    def summary(self, seed: int = 0) -> pd.DataFrame:
        """Mean, 95 % interval, number of seeds and of scenes, by model and metric.

        `failed` counts scenes with an empty value; the mean of the others would be of another set, so there is none.
        `seed` is the bootstrap's. Raises FgqError when the report holds several datasets or protocols.
        """
        check_one_set(self.frame)
        rows = []
        for (*model, metric), part in self.frame.groupby([*MODEL, "metric"], sort=False):
            table = by_seed_and_scene(part)
            failed = int(np.isnan(table).any(axis=0).sum())
            rows.append([*model, metric, part.unit.iloc[0], *mean_interval(table, seed), *table.shape, failed])
        columns = [*MODEL, "metric", "unit", "mean", "low", "high", "seeds", "scenes", "failed"]
        return pd.DataFrame(rows, columns=columns)

    def compare(self, reference: "Report", seed: int = 0) -> pd.DataFrame:
        """Paired difference to `reference` on the same scenes, by model and metric, with a 95 % interval.

        Negative is lower, whichever way is better; `better` says whether the interval lies on the good side of zero,
        `worse` on the bad one. `npd` is FGQ's normalised performance degradation, the difference in percent of the
        reference's mean with the difference's own sign; `harm` is the same with positive for worse. The reference has
        one seed, or the same seeds (then paired by seed too); the interval then covers the draw of seeds and the draw
        of scenes. Metrics that the reference lacks are left out. `seed` is the bootstrap's. Raises FgqError when
        scenes, their valid pixels, datasets, protocols or seeds differ, when the reference holds several models, or
        when both share no metric.
        """
        check_one_set(pd.concat([self.frame, reference.frame]))
        if len(reference.frame[MODEL].drop_duplicates()) != 1:
            raise FgqError("the reference report holds several models: choose one with .only(recipe=…)")
        rows = []
        for (*model, metric), part in self.frame.groupby([*MODEL, "metric"], sort=False):
            theirs = reference.frame[reference.frame.metric == metric]
            if theirs.empty:
                continue
            check_same_scenes(part, theirs)
            check_same_seeds(part, theirs)
            difference, base = paired(part, theirs)
            mean, low, high = mean_interval(difference, seed)
            sign = 1 if part.higher_is_better.iloc[0] else -1
            npd = normalised_degradation(mean, base.mean())
            good, bad = (low > 0, high < 0) if sign > 0 else (high < 0, low > 0)
            found = [mean, low, high, npd, -sign * npd, good, bad, *difference.shape]
            rows.append([*model, metric, part.unit.iloc[0], *found])
        if not rows:
            raise FgqError("the two reports share no metric")
        columns = [*MODEL, "metric", "unit", "difference", "low", "high", "npd", "harm", "better", "worse"]
        return pd.DataFrame(rows, columns=[*columns, "seeds", "scenes"])

    def per_category(self) -> "Report":
        """The same report with categories for scenes: CO3D's protocol, mean over categories of means over sequences.

        The summaries, differences and intervals of what it returns count and draw categories. See `by_category`.
        """
        return Report(by_category(self.frame))

    def gain_tests(self, reference: "Report") -> pd.DataFrame:
        """Whether the gain over `reference` exceeds the noise of seeds and scenes, by model and metric.

        `gain` is the mean paired difference, positive for better, in the metric's unit; the further columns are the
        fields of `fgq.evaluation.statistics.GainTest`. Reports pair as in `compare`, which says what is raised.
        """
        rows = []
        for row in self.compare(reference)[[*MODEL, "metric", "unit"]].to_dict("records"):
            part = self.only(**{column: row[column] for column in [*MODEL, "metric"]}).frame
            difference, _ = paired(part, reference.only(metric=row["metric"]).frame)
            sign = 1 if part.higher_is_better.iloc[0] else -1
            rows.append(row | asdict(gain_test(sign * difference)))
        return pd.DataFrame(rows)

    def to_csv(self) -> str:
        """The tidy table as CSV text; `save` writes it to a file and `load` reads it. No text in it is a formula."""
        texts = self.frame.select_dtypes(exclude=["number", "bool"])
        guarded = {name: column.replace(FORMULA, r"'\1", regex=True) for name, column in texts.items()}
        return self.frame.assign(**guarded).to_csv(index=False, float_format="%.9g")

    def to_markdown(self, digits: int = 4) -> str:
        """The summary as a Markdown table: mean with interval, seeds × scenes."""
        return summary_markdown(self.summary(), digits)

    def to_html(self, reference: "Report | None" = None, digits: int = 4, title: str = "Evaluation") -> str:
        """A whole HTML page that loads nothing: the summary and, with a reference, the paired differences to it."""
        tables = {"Means with 95 % intervals": self.summary()}
        if reference is not None:
            tables["Paired differences to the reference"] = self.compare(reference)
        return html_page(title, tables, digits)

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


def normalised_degradation(difference: float, full_precision: float) -> float:
    """NPD in percent: (metric - full precision's) over full precision's (arXiv:2605.15828); NaN where that is zero."""
    return 100 * difference / full_precision if full_precision else np.nan


def settings_of(frame: pd.DataFrame) -> pd.Series:
    """W4A8 and the like, row by row, of a table with the columns weight_bits and activation_bits."""
    pairs = zip(frame.weight_bits, frame.activation_bits, strict=True)
    return pd.Series([str(Bits(int(weight), int(activation))) for weight, activation in pairs], frame.index, dtype=str)


def scene_means(report: Report, metric: str) -> pd.Series:
    """By scene, mean over seeds."""
    return report.only(metric=metric).frame.groupby("scene", sort=False).value.mean()


def scene_losses(report: Report, reference: Report, metric: str) -> pd.Series:
    """How much worse than in the reference each scene is, in the metric's unit; negative where it is better."""
    difference = scene_means(report, metric) - scene_means(reference, metric)
    return -difference if METRICS[metric].higher_is_better else difference


def worst_scenes(report: Report, reference: Report, metric: str, count: int) -> list[str]:
    """Names of the scenes that lost most against the reference, worst first. Raises FgqError for an empty value."""
    loss = scene_losses(report, reference, metric)
    if loss.isna().any():
        raise FgqError(f"scene {loss.index[loss.isna()][0]} has no {metric} in one of the reports: it cannot be ranked")
    return loss.sort_values(ascending=False, kind="stable").index[:count].tolist()
