"""Which reports are compared with which: of two files, two runs, two sweeps, or within one sweep."""

from pathlib import Path

import numpy as np
import pandas as pd

from fgq.errors import FgqError
from fgq.evaluation import Report
from fgq.evaluation.report import MODEL
from fgq.runs.reports import find_reports
from fgq.sweeps.reports import is_sweep, pairs_within, reports_by_point

Pair = tuple[str, Report, Report]


def find_pairs(first: Path, second: Path | None, against: dict | None = None) -> list[Pair]:
    """Each with a name: reports (CSV), run folders or sweep folders, in which reports pair by name.

    Models pair by recipe and bits where the second report holds several. Without `second`, `first` is a sweep and
    `against` chooses among its points those that the others are compared with. Raises FgqError when nothing can be
    paired.
    """
    if second is None:
        if not is_sweep(first):
            raise FgqError(f"{first}: is no sweep's folder: give a second report or run to compare it with")
        if not against:
            raise FgqError(f"{first}: say what its points are compared with, such as --against recipe=rtn")
        return pairs_within(first, against)
    if against:
        raise FgqError("--against chooses among the points of one sweep: leave it or the second place away")
    pairs = pairs_by_name(first, second)
    return [(name, *models) for name, ours, theirs in pairs for models in pair_models(ours, theirs)]


def pairs_by_name(first: Path, second: Path) -> list[Pair]:
    ours, theirs = reports_of(first), reports_of(second)
    if first.is_file() and second.is_file():
        return [(first.name, ours[first.name], theirs[second.name])]
    pairs = [(name, ours[name], theirs[name]) for name in ours if name in theirs]
    if not pairs:
        raise FgqError(
            f"no reports of one name: {first} holds {', '.join(ours) or 'none'}, "
            f"{second} holds {', '.join(theirs) or 'none'}"
        )
    return pairs


def reports_of(place: Path) -> dict[str, Report]:
    return reports_by_point(place) if is_sweep(place) else find_reports(place)


def pair_models(ours: Report, theirs: Report) -> list[tuple[Report, Report]]:
    their_models = theirs.frame[MODEL].drop_duplicates()
    if len(their_models) == 1:
        return [(ours, theirs)]
    pairs = []
    for model in ours.frame[MODEL].drop_duplicates().to_dict("records"):
        if (their_models == pd.Series(model)).all(axis=1).any():
            pairs.append((ours.only(**model), theirs.only(**model)))
    if not pairs:
        raise FgqError("the two reports have no model (recipe and bits) in common")
    return pairs


def without_difference(compared: pd.DataFrame) -> list[str]:
    """The metrics of a comparison that are NaN or infinite somewhere."""
    return compared[~np.isfinite(compared.difference)].metric.unique().tolist()
