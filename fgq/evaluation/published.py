"""What the paper reports for VGGT-1B, as data, and beside it what a run of ours gives.

The numbers are those of the tables of FGQ (arXiv:2605.15828v2), transcribed. They are of the paper's own frames, which
are not public as lists: a difference to ours on another protocol says nothing about either method.
"""

import importlib.resources

import pandas as pd

from fgq.errors import FgqError
from fgq.evaluation.report import MODEL, Report
from fgq.metrics.table import METRICS

SOURCE = "arXiv:2605.15828v2"
TABLE = importlib.resources.files("fgq.evaluation") / "published.csv"

# Sampling, sequences × frames and image width behind each number, as the paper and its release state them.
PROTOCOLS = {
    "co3d": "CO3Dv2: 10 random frames (seed 42) of 2,506 sequences, width 512, AUC per category, then averaged",
    "realestate10k": "RealEstate10K: 10 random frames (seed 42) of 1,719 sequences, width 512",
    "seven_scenes": "7-Scenes: every 200th frame of 18 sequences, width 518, depth unprojected, Sim(3), ICP",
    "dtu": "DTU: every 5th view of 22 scans, width 518, depth unprojected, Sim(3), ICP",
    "eth3d": "ETH3D: every 5th view of 13 scenes, width 518, depth unprojected, Sim(3), ICP",
    "kitti mono": "KITTI: single frames, scale alignment",
    "kitti video": "KITTI: video, scale alignment",
}


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
    return table.assign(value=value, unit=units, protocol=table.dataset.map(PROTOCOLS), source=SOURCE)


def beside_published(report: Report, protocol: str, dataset: str | None = None) -> pd.DataFrame:
    """Our means beside the paper's numbers of the same recipe, bits, dataset and metric.

    `protocol` says in words how our scenes were chosen and is put to every number of ours; `dataset` is the name in the
    published table where the report's own differs ("kitti mono"). Raises FgqError for an empty protocol, a report of
    several datasets, and one that shares no number with the paper.
    """
    if not protocol.strip():
        raise FgqError("say in `protocol` how the scenes were chosen: a number without its protocol cannot be compared")
    ours = report.summary()[[*MODEL, "metric", "mean", "low", "high", "seeds", "scenes"]]
    ours = ours.assign(dataset=dataset or report.frame.dataset.iloc[0], our_protocol=protocol)
    theirs = published_results().rename(columns={"value": "published", "protocol": "published_protocol"})
    both = theirs.merge(ours, on=[*MODEL, "dataset", "metric"])
    if both.empty:
        raise FgqError(
            f"the paper has no number for {ours.dataset.iloc[0]} with these recipes, bits and metrics; it has "
            f"{', '.join(PROTOCOLS)}"
        )
    return both
