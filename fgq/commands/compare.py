"""Two runs, or two reports, against each other."""

from pathlib import Path

import numpy as np
import pandas as pd

from fgq.errors import FgqError
from fgq.evaluation import DEVIATIONS, HEADLINE, Report, tell, verdicts
from fgq.evaluation.report import MODEL


def compare(first: Path, second: Path) -> pd.DataFrame:
    """Paired differences of `first` from `second`: reports (CSV) or run folders, in which reports pair by name.

    Models pair by recipe and bits where the second report holds several. Raises FgqError when nothing can be paired.
    """
    parts = []
    for name, ours, theirs in find_pairs(first, second):
        parts += [one.compare(other).assign(report=name) for one, other in pair_models(ours, theirs)]
    return pd.concat(parts, ignore_index=True)


def in_words(first: Path, second: Path, within: float) -> list[str]:
    """The deviations from full precision in words, a line each; corrected as one family for each pair of models.

    Reports without deviations are told in the headline metrics, of which those without a ratio (a mean of zero) are
    left out.
    """
    lines = []
    for _, ours, theirs in find_pairs(first, second):
        for one, other in pair_models(ours, theirs):
            shared = have_ratio(one) & have_ratio(other)
            metrics = [name for name in DEVIATIONS if name in shared] or [name for name in HEADLINE if name in shared]
            lines += tell(verdicts(one, other, metrics, within)) if metrics else []
    return lines


def have_ratio(report: Report) -> set[str]:
    means = report.frame.groupby(["metric", *MODEL, "seed"]).value.mean().groupby("metric").min()
    return set(means[means > 0].index)


def find_pairs(first: Path, second: Path) -> list[tuple[str, Report, Report]]:
    ours, theirs = find_reports(first), find_reports(second)
    if first.is_file() and second.is_file():
        return [(first.name, ours[first.name], theirs[second.name])]
    pairs = [(name, ours[name], theirs[name]) for name in ours if name in theirs]
    if not pairs:
        raise FgqError(
            f"no reports of one name: {first} holds {', '.join(ours) or 'none'}, "
            f"{second} holds {', '.join(theirs) or 'none'}"
        )
    return pairs


def find_reports(place: Path) -> dict[str, Report]:
    """The report of a file, or all reports among the artefacts of a run folder, by name."""
    if place.is_file():
        return {place.name: Report.load(place)}
    if not place.is_dir():
        raise FgqError(f"{place}: no such report or run folder")
    found = {}
    for path in sorted((place / "artefacts").rglob("*.csv")):
        try:
            found[path.relative_to(place / "artefacts").as_posix()] = Report.load(path)
        except FgqError:
            continue  # a table of another kind
    return found


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
