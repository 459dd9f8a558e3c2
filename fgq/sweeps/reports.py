"""The reports of a sweep's points, and its points against each other."""

import re
from pathlib import Path

from fgq.errors import FgqError
from fgq.evaluation import Report, combine
from fgq.provenance.record import read_json
from fgq.runs.reports import find_reports
from fgq.sweeps.points import Values, varying

SEED, SETTING = "seed", "setting"
PLAIN_BITS = r"W\d+A\d+"  # which a report's columns say too
REPORT, RUN = "report.csv", "run"  # where a point keeps its report, or the folder of its run


def is_sweep(place: Path) -> bool:
    return (place / "points").is_dir() and (place / "sessions").is_dir()


def done_points(root: Path) -> list[tuple[str, Values, dict[str, Report]]]:
    """Name, parameters and reports of every point in the folder that is done and has any."""
    found = []
    for place in sorted((root / "points").iterdir()):
        result = read_json(place / "result.json")
        reports = {}
        if (place / REPORT).is_file():
            reports = {"": Report.load(place / REPORT)}
        elif (place / RUN).is_dir():
            reports = find_reports(place / RUN)
        if result and reports:
            found.append((place.name, result["parameters"], reports))
    return found


def reports_by_point(root: Path) -> dict[str, Report]:
    """By the point's name, which has the hash of its parameters: equal in two sweeps for the same point."""
    points = done_points(root)
    return {f"{name}/{which}".rstrip("/"): report for name, _, reports in points for which, report in reports.items()}


def pairs_within(root: Path, against: Values) -> list[tuple[str, Report, Report]]:
    """A pair for each choice of parameters that has the values `against`: all others of like kind, and that one.

    Points that differ by their seed alone are one, with several seeds. A point is compared with the chosen one that
    agrees with it in every parameter in which the chosen ones differ among themselves, such as the bits. Its recipe
    is called by all that varies. Raises FgqError for an unknown name, and when nothing can be paired.
    """
    points = done_points(root)
    if not points:
        raise FgqError(f"{root}: none of its points has a report yet")
    names = [name for name in varying([values for _, values, _ in points]) if name != SEED]
    for name in against:
        if name not in {known for _, values, _ in points for known in values}:
            raise FgqError(f"--against {name}=: is a parameter of no point; those that vary are {', '.join(names)}")
    groups = grouped(points, names)
    chosen = [group for group in groups if all(group.values.get(name) == value for name, value in against.items())]
    if not chosen:
        raise FgqError(f"{root}: no point that is done has {told(against)}")
    telling = varying([group.values for group in chosen])
    pairs = []
    for reference in chosen:
        like = [group for group in groups if group not in chosen and group.report_name == reference.report_name]
        like = [group for group in like if all(group.values.get(n) == reference.values.get(n) for n in telling)]
        if like:
            pairs.append((reference.label, combine(group.report for group in like), reference.report))
    if not pairs:
        raise FgqError(f"{root}: no point is there to compare with {told(against)}")
    return pairs


class Group:
    """Points that differ by their seed alone, as one report whose recipe is what varies but the bits, which it has."""

    def __init__(self, values: Values, report_name: str, names: list[str]):
        self.values, self.report_name, self.reports = values, report_name, []
        told = {name: f"{values[name]}" for name in names if values.get(name) is not None}
        self.label = ", ".join(told.values()) or "all"
        by_bits = [name for name in told if name == SETTING and re.fullmatch(PLAIN_BITS, told[name])]
        self.model = ", ".join(text for name, text in told.items() if name not in by_bits) or "all"

    @property
    def report(self) -> Report:
        frame = combine(self.reports).frame
        several = frame.recipe.nunique() > 1
        return Report(frame.assign(recipe=f"{self.model}, " + frame.recipe if several else self.model))


def grouped(points: list[tuple[str, Values, dict[str, Report]]], names: list[str]) -> list[Group]:
    found: dict[tuple, Group] = {}
    for _, values, reports in points:
        own = {name: values.get(name) for name in values if name != SEED}
        for which, report in reports.items():
            key = (which, *(str(own.get(name)) for name in names))
            group = found.setdefault(key, Group(own, which, names))
            group.reports.append(report)
    return list(found.values())


def told(values: Values) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
