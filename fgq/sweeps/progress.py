"""How far a sweep is: a line for every change, fine in a log too, and a table of all points."""

import time
from collections import Counter
from collections.abc import Callable, Sequence

import pandas as pd

from fgq.provenance.source import source_hash
from fgq.sweeps.folder import DONE, FAILED, LEFT, RUNNING, STATES, PointFolder, SweepFolder
from fgq.sweeps.points import Point


class Progress:
    """Tells what became of points since it last looked, and how long the rest will take."""

    def __init__(self, points: Sequence[Point], folder: SweepFolder, report: Callable[[str], None], at_once: int):
        self.points, self.folder, self.report, self.at_once = points, folder, report, at_once
        self.states = folder.states(points)
        self.tried = {point.name: self.number_of_tries(point) for point in points}
        self.seconds = [seconds for point in points if (seconds := folder.of(point).result.get("seconds")) is not None]

    def look(self) -> bool:
        """Whether anything has ended since the last look."""
        ended = []
        for point in self.points:
            before, tried = self.states[point.name], self.tried[point.name]
            if before == DONE:
                continue
            place = self.folder.of(point)
            self.states[point.name] = place.state()
            self.tried[point.name] = self.number_of_tries(point)
            if self.states[point.name] == DONE:
                self.seconds.append(place.result.get("seconds", 0.0))
            if self.states[point.name] in (DONE, FAILED) and (self.states[point.name], self.tried[point.name]) != (
                before, tried
            ):  # fmt: skip
                ended.append(point)
            elif before == RUNNING and self.states[point.name] == LEFT:
                ended.append(point)
        for point in ended:
            self.report(f"{self.counted()} {self.told(point)}; {self.rest()}")
        return bool(ended)

    def number_of_tries(self, point: Point) -> int:
        newest = self.folder.of(point).newest()
        return newest.number if newest else 0

    def counted(self) -> str:
        done = Counter(self.states.values())[DONE]
        return f"[{done:{len(str(len(self.points)))}}/{len(self.points)}]"

    def told(self, point: Point) -> str:
        place, state = self.folder.of(point), self.states[point.name]
        if state == DONE:
            return f"done    {point.name}: {cost(place.result)}"
        if state == FAILED:
            return f"failed  {point.name}: {place.newest().failure.get('error', '')}"
        return f"killed  {point.name}"

    def rest(self) -> str:
        counts = Counter(self.states.values())
        told = ", ".join(f"{state} {counts[state]}" for state in (RUNNING, FAILED, LEFT))
        open_points = counts[RUNNING] + counts[LEFT]
        if not self.seconds or not open_points:
            return told
        left = sum(self.seconds) / len(self.seconds) * open_points / min(self.at_once, open_points)
        return f"{told}, about {duration(left)} to go"


def cost(result: dict) -> str:
    gpu = f", {result['peak_gpu_bytes'] / 1e9:.1f} GB of the GPU" if result.get("peak_gpu_bytes") else ""
    return f"{duration(result['seconds'])}, {result['peak_memory_bytes'] / 1e9:.1f} GB{gpu}"


def duration(seconds: float) -> str:
    """Such as 4.2 s, 12 min or 3 h 05 min."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def status_table(points: Sequence[Point], folder: SweepFolder) -> pd.DataFrame:
    """A row a point: its state, attempts, seconds, memory, and what is to be said of it."""
    return pd.DataFrame([status_row(point, folder.of(point)) for point in points])


def status_row(point: Point, place: PointFolder) -> dict:
    state, result, newest = place.state(), place.result, place.newest()
    told = ""
    if state == DONE:
        told = "by other code than today's" if result.get("source_hash") != source_hash() else ""
    elif state == FAILED:
        told = newest.failure.get("error", "")
    elif state == RUNNING:
        told = f"for {duration(time.time() - newest.owner.get('began', time.time()))}"
    elif newest is not None:
        told = "was killed"
    gigabytes = f"{result['peak_memory_bytes'] / 1e9:.1f}" if result else ""
    row = {"point": point.name, "state": state, "attempts": newest.number if newest else 0}
    return row | {"seconds": f"{result['seconds']:.1f}" if result else "", "GB": gigabytes, "note": told}


def told_counts(table: pd.DataFrame) -> str:
    counts = table.state.value_counts()
    return ", ".join(f"{state} {counts.get(state, 0)}" for state in STATES)
