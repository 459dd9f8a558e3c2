"""The reports that lie in a run's folder."""

from pathlib import Path

from fgq.errors import FgqError
from fgq.evaluation.report import Report


def find_reports(place: Path) -> dict[str, Report]:
    """By name, the report of a file, or all among the artefacts of a run folder. Raises FgqError for neither."""
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
