"""What the paper reports for VGGT-1B, as data, and beside it what a run of ours gives.

The numbers are those of the tables of FGQ (arXiv:2605.15828v2), transcribed. They are of the paper's own frames, which
are not public as lists: a difference to ours on another protocol says nothing about either method.
"""

import importlib.resources

import pandas as pd

from fgq.data.protocols import PAPER, PROTOCOLS, Protocol, find_protocol
from fgq.errors import FgqError
from fgq.evaluation.pairing import SEPARATOR
from fgq.evaluation.report import MODEL, Report
from fgq.metrics.table import CLOUDS, METRICS

TABLE = importlib.resources.files("fgq.evaluation") / "published.csv"
THEIR_MODEL, THEIR_CALIBRATION = "VGGT-1B", "co3d"
OF_TABLE = {protocol.table: protocol for protocol in PROTOCOLS.values()}  # by the dataset's name there


def published_results() -> pd.DataFrame:
    """One row a number: recipe, bits, dataset, metric, value, unit, protocol, source.

    Metrics and units are ours: AUC in percent, where the paper gives a share. Lengths are in the dataset's unit: metres
    for 7-Scenes, ETH3D and KITTI, millimetres for DTU.
    """
    table = pd.read_csv(TABLE)
    lengths = {"dtu": "millimetre"}
    units = [
        lengths.get(dataset, "metre") if METRICS[metric].unit == "scene unit" else METRICS[metric].unit
        for dataset, metric in zip(table.dataset, table.metric, strict=True)
    ]
    percent = pd.Series([unit == "%" for unit in units])
    value = table.value.where(~percent, (100 * table.value).round(2))
    protocols = table.dataset.map(lambda name: str(OF_TABLE[name]))
    return table.assign(value=value, unit=units, protocol=protocols, source=PAPER)


def beside_published(report: Report, protocol: str | None = None, dataset: str | None = None) -> pd.DataFrame:
    """Our means beside the paper's numbers of the same recipe, bits, dataset and metric, and in `differs` what differs.

    A report of scenes that were loaded by a protocol says so itself; it is averaged as that protocol does. For any
    other, `protocol` says in words how the scenes were chosen, and `dataset` is the name in the published table where
    the report's own differs ("kitti mono"). Raises FgqError for a report without a protocol, of several protocols or
    datasets, for words where a report has its own, and where it shares no number with the paper.
    """
    named = protocol_of(report)
    words = (protocol or "").strip()
    if named is None and not words:
        raise FgqError(
            "say in `protocol` how the scenes were chosen, or load them with fgq.load_scenes(protocol=…): a number "
            "without its protocol cannot be compared"
        )
    if named is not None and (words or dataset):
        raise FgqError(f"the report says itself that it is of {named.name}: leave protocol= and dataset= away")
    ours = (report if named is None else averaged(report, named)).summary()
    ours = ours[[*MODEL, "metric", "mean", "low", "high", "seeds", "scenes", "failed"]]
    table = named.table if named is not None else dataset or report.frame.dataset.iloc[0]
    ours = ours.assign(dataset=table, our_protocol=named.name if named is not None else words)
    theirs = published_results().rename(columns={"value": "published", "protocol": "published_protocol"})
    both = theirs.merge(ours, on=[*MODEL, "dataset", "metric"])
    if both.empty:
        raise FgqError(
            f"the paper has no number for {table} with these recipes, bits and metrics; it has {', '.join(OF_TABLE)}"
        )
    return both.assign(differs=["; ".join(differences(row, report, named)) for row in both.itertuples()])


def protocol_of(report: Report) -> Protocol | None:
    """The one that a report names; None where it names none. Raises FgqError for several, and for an unknown one."""
    names = sorted(set(report.frame.protocol.fillna(""))) if "protocol" in report.frame else [""]
    if len(names) > 1:
        shown = ", ".join(name or "none" for name in names)
        raise FgqError(f"there are results of several protocols ({shown}): choose .only(protocol=…)")
    return find_protocol(names[0]) if names[0] else None


def averaged(report: Report, protocol: Protocol) -> Report:
    """With the protocol's metrics alone, by category where it averages so."""
    kept = Report(report.frame[report.frame.metric.isin(protocol.metrics)])
    by_sequence = protocol.per_category and kept.frame.scene.str.contains(SEPARATOR, regex=False).any()
    return kept.per_category() if by_sequence else kept


def differences(row, report: Report, named: Protocol | None) -> list[str]:
    """In what our number was made otherwise than theirs; `row` of `beside_published`, as `itertuples` gives it."""
    told = [f"protocol: {row.our_protocol}"] if named is None else []
    part = report.frame[report.frame.metric == row.metric]
    for column in MODEL:
        part = part[part[column] == getattr(row, column)]

    def said(column: str) -> list[str]:
        return sorted(set(part[column].fillna("")) - {""}) if column in part else []

    told += said("departures")
    models = [name for name in said("model") if name.rstrip("/").rpartition("/")[2] != THEIR_MODEL]
    told += [f"model {name}, not {THEIR_MODEL}" for name in models]
    for splits in said("calibration"):
        if splits.split()[0] != THEIR_CALIBRATION:
            told.append(f"calibrated on {splits}, not on CO3Dv2")
    if named is not None and named.full_clouds and METRICS[row.metric].group in CLOUDS:
        told += [f"{count} points of a cloud looked up, not all" for count in said("clouds") if count != "all"]
    if row.seeds > 1:
        told.append(f"mean of {row.seeds} seeds, theirs of one")
    if row.failed:
        told.append(f"{row.failed} scenes have no value")
    return told + list(named.unlike if named is not None else ())
