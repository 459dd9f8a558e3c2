"""All results of a sweep in one tidy table: a row a point and metric, parameters as columns."""

from typing import Any

import pandas as pd

from fgq.evaluation.comparison import csv_text
from fgq.sweeps.folder import DONE, FAILED, PointFolder, SweepFolder
from fgq.sweeps.points import Point, as_text
from fgq.sweeps.sweep_file import Sweep
from fgq.writing import write_text

COSTS = ["seconds", "peak_memory_bytes", "peak_gpu_bytes", "device", "commit", "finished"]
OWN = ["point", "state", "attempts", "metric", "value", *COSTS, "error"]


def results(sweep: Sweep, folder: SweepFolder) -> pd.DataFrame:
    """Columns: point, state, attempts, the parameters, metric, value and what belongs to it, costs, error.

    A point without metrics has one row with an empty metric: none is left out. A parameter whose name is also that of
    another column is called parameter_NAME, a metric's further column that is called as a parameter, report_NAME.
    Bytes are those of all that the point's process and its children had in memory at most.
    """
    names = list(dict.fromkeys([*sweep.varying, *(name for point in sweep.points for name in point.parameters)]))
    parts = [rows_of(point, folder.of(point), names) for point in sweep.points]
    columns = list(dict.fromkeys(column for part in parts for column in part.columns))
    ends = [*COSTS, *(column for column in columns if column not in OWN and column in about_names(parts)), "error"]
    order = [*(column for column in columns if column not in ends), *ends]
    return pd.DataFrame([row for part in parts for row in part.to_dict("records")], columns=order)


def about_names(parts: list[pd.DataFrame]) -> set[str]:
    return {name for part in parts for name in part.attrs.get("about", ())}


def rows_of(point: Point, place: PointFolder, names: list[str]) -> pd.DataFrame:
    result, newest = place.result, place.newest()
    state = DONE if result else place.state()
    metrics = read_metrics(place) if result else pd.DataFrame()
    if metrics.empty:
        metrics = pd.DataFrame({"metric": [None], "value": [None]})
    renamed = {column: f"report_{column}" for column in metrics.columns if column in names and column not in OWN}
    metrics = metrics.rename(columns=renamed)
    before = {"point": place.root.name, "state": state, "attempts": newest.number if newest else 0}
    before |= {column_of(name): plain(point.parameters.get(name)) for name in names}
    about = result.get("about", {})
    after = {name: result.get(name) for name in COSTS} | about
    after["error"] = newest.failure.get("error") if state == FAILED else None
    content = {name: [value] * len(metrics) for name, value in before.items()}
    content |= {name: metrics[name].tolist() for name in metrics}
    content |= {name: [value] * len(metrics) for name, value in after.items()}
    found = pd.DataFrame(content)
    found.attrs["about"] = list(about)
    return found


def column_of(parameter: str) -> str:
    return f"parameter_{parameter}" if parameter in OWN else parameter


def plain(value: Any) -> Any:
    """A list or mapping by its text, for a cell."""
    return as_text(value) if isinstance(value, list | dict) else value


def read_metrics(place: PointFolder) -> pd.DataFrame:
    try:
        return pd.read_csv(place.metrics, keep_default_na=False, na_values={"value": [""], "low": [""], "high": [""]})
    except (OSError, ValueError):
        return pd.DataFrame()


def write_table(sweep: Sweep, folder: SweepFolder) -> pd.DataFrame:
    """Writes results.csv and returns the table."""
    table = results(sweep, folder)
    write_text(folder.table, csv_text(table), "the results")
    return table
