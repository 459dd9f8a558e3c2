"""Comparisons of many reports in one table, with verdicts in words, for people and for papers."""

from collections.abc import Iterable

import pandas as pd

from fgq.errors import FgqError
from fgq.evaluation.pages import cell_text
from fgq.evaluation.report import FORMULA, MODEL, Report, settings_of
from fgq.evaluation.verdict import WITHIN, verdicts
from fgq.metrics.table import DEVIATIONS, HEADLINE

VERDICT = ["change", "change_low", "change_high", "p_difference", "p_equivalence", "within", "verdict"]


def compared(
    pairs: Iterable[tuple[str, Report, Report]], metrics: list[str] | None = None, within: float | None = WITHIN
) -> pd.DataFrame:
    """Every pair's `Report.compare`, its name in the column report, and the `verdicts` beside it.

    Verdicts are of the `metrics`, which are then the only rows; unless told, of the deviations from full precision, and
    of reports without them, of the headline metrics. Each pair is one family. `change` and its ends are relative; they
    and the verdict are empty for metrics that were not judged or have no ratio (a mean of zero), and for all without
    `within`. Raises FgqError for metrics that no pair has, and as `Report.compare` and `verdicts`.
    """
    parts = []
    for name, ours, theirs in pairs:
        rows = ours.compare(theirs)
        rows = rows if metrics is None else rows[rows.metric.isin(metrics)]
        judged = [] if within is None else judged_metrics(ours, theirs, metrics)
        found = verdicts(ours, theirs, judged, within) if judged else pd.DataFrame(columns=[*MODEL, "metric"])
        found = found.rename(columns={"low": "change_low", "high": "change_high"})
        found = found.reindex(columns=[*MODEL, "metric", *VERDICT])
        rows = rows.merge(found.astype({column: rows[column].dtype for column in MODEL}), "left", [*MODEL, "metric"])
        parts.append(rows.assign(report=name))
    table = pd.concat(parts, ignore_index=True)
    missing = sorted(set(metrics or ()) - set(table.metric))
    if missing:
        raise FgqError(f"the reports have no metric {missing[0]} in common")
    return table.assign(verdict=table.verdict.astype(object).fillna(""))


def judged_metrics(ours: Report, theirs: Report, metrics: list[str] | None = None) -> list[str]:
    """Those of the metrics that have a ratio: of the deviations unless told, else of the headline metrics."""
    shared = have_ratio(ours) & have_ratio(theirs)
    if metrics is not None:
        return [name for name in metrics if name in shared]
    return [name for name in DEVIATIONS if name in shared] or [name for name in HEADLINE if name in shared]


def have_ratio(report: Report) -> set[str]:
    means = report.frame.groupby(["metric", *MODEL, "seed"]).value.mean().groupby("metric").min()
    return set(means[means > 0].index)


def for_people(table: pd.DataFrame, digits: int = 3) -> pd.DataFrame:
    """Texts: model, bits, metric and unit, difference and change with their 95 % intervals, verdict.

    The column of names is left out where all comparisons have one.
    """

    def interval(row, columns: list[str], times: float, sign: str) -> str:
        middle, low, high = (times * float(row[column]) for column in columns)
        told = f"{middle:{sign}.{digits}g} [{low:{sign}.{digits}g}, {high:{sign}.{digits}g}]"
        return "" if pd.isna(middle) else told

    rows = table.to_dict("records")
    shown = pd.DataFrame(
        {
            "against": table.report.astype(str),
            "model": table.recipe.astype(str),
            "bits": settings_of(table),
            "metric": table.metric.astype(str),
            "unit": table.unit.fillna("").astype(str),
            "difference": [interval(row, ["difference", "low", "high"], 1, "+") for row in rows],
            "change (%)": [interval(row, ["change", "change_low", "change_high"], 100, "+") for row in rows],
            "verdict": table.verdict.astype(str),
            "seeds, scenes": [f"{row['seeds']}, {row['scenes']}" for row in rows],
        },
        dtype=str,
    )
    return shown.drop(columns="against") if table.report.nunique() == 1 else shown


def comparison_markdown(table: pd.DataFrame) -> str:
    shown = for_people(table)
    lines = [list(shown.columns), ["---"] * len(shown.columns)]
    lines += [[cell_text(value) for value in row] for row in shown.itertuples(index=False)]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def comparison_latex(table: pd.DataFrame) -> str:
    """A tabular for the package booktabs, in which every text stays one."""
    shown = for_people(table).map(lambda text: " ".join(text.split()))
    return shown.to_latex(index=False, escape=True, column_format="l" * len(shown.columns))


def csv_text(table: pd.DataFrame) -> str:
    """Any table as CSV, in which, as in a report's, no text is a formula for a spreadsheet."""
    texts = table.select_dtypes(exclude=["number", "bool"])
    guarded = {name: column.replace(FORMULA, r"'\1", regex=True) for name, column in texts.items()}
    return table.assign(**guarded).to_csv(index=False, float_format="%.9g")
