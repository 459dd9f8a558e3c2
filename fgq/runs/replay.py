"""A long run repeated in short: does today's code still compute what made a stored table?

Code changes without changing a number, when it becomes faster or tidier. A run file may therefore name a `replay`:
parameters with which its chapters take seconds. The table of that short run is stored beside the long one's, and when
the code has changed since, the short run is made again and must give the same.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from fgq.errors import FgqError

FOLDER = "replay"


@dataclass(frozen=True)
class Replay:
    parameters: dict  # for every chapter that has a parameter of that name
    compare: tuple[str, ...]  # columns of the table that must agree within the tolerance; texts must be equal
    tolerance: (
        float  # relative; sums are rounded differently on other machines, which tips codes, which learning enlarges
    )
    rows: dict[str, tuple] = field(default_factory=dict)  # by column, the values of the rows to compare; all if empty


def short_run(run):
    """The run file with the replay's parameters; it publishes nothing."""
    steps = tuple(
        replace(
            step,
            parameters=step.parameters | {n: v for n, v in run.replay.parameters.items() if n in step.chapter.defaults},
        )
        for step in run.steps
    )
    return replace(run, name=f"{run.name} in short", steps=steps, publish=(), replay=None)


def differences(then: pd.DataFrame, now: pd.DataFrame, replay: Replay) -> list[str]:
    """What differs between the tables of two short runs; empty when the code computes the same."""
    texts = [name for name in then.columns if then[name].map(lambda value: isinstance(value, str)).any()]
    missing = [name for name in (*texts, *replay.compare, *replay.rows) if name not in then or name not in now]
    if missing:
        return [f"column {missing[0]} is missing"]
    if len(then) != len(now):
        return [f"{len(now)} rows, not {len(then)}"]
    told = []
    for name in texts:
        if not then[name].fillna("").equals(now[name].fillna("")):
            told.append(f"column {name} differs")
    chosen = np.logical_and.reduce(
        [np.ones(len(then), bool), *(then[n].isin(values) for n, values in replay.rows.items())]
    )
    then, now = then[chosen], now[chosen]
    for name in replay.compare:
        near = np.isclose(now[name], then[name], rtol=replay.tolerance, atol=0, equal_nan=True)
        if not near.all():
            row = int(np.flatnonzero(~near)[0])
            label = " ".join(str(then[text].iloc[row]) for text in texts)
            told.append(f"{name} of {label} was {then[name].iloc[row]:.6g}, is {now[name].iloc[row]:.6g}")
    return told


def replay_first(run, out: Path, report: Callable[[str], None]) -> None:
    """Makes the short run and leaves its tables in artefacts/replay, where chapters can tell by them which numbers
    they may take up again. Tables that agree with those of an earlier start stay as they are."""
    from fgq.runs.execute import execute

    report("first in short, to know later whether the code still computes the same")
    made = execute(short_run(run), out / FOLDER, report=report)
    kept = out / "artefacts" / FOLDER
    kept.mkdir(parents=True, exist_ok=True)
    for name in run.publish:
        fresh, before = made.artefacts / f"{name}.csv", kept / f"{name}.csv"
        if not fresh.is_file():
            raise FgqError(f"{run.path}: in short, no chapter wrote {name}.csv, which the run file publishes")
        if before.is_file() and not differences(pd.read_csv(before), pd.read_csv(fresh), run.replay):
            continue
        shutil.copyfile(fresh, before.with_suffix(".new"))
        os.replace(before.with_suffix(".new"), before)


def replay_differences(run, book: Path, out: Path, report: Callable[[str], None]) -> list[str]:
    """Makes the short run in `out` and compares its tables with those stored under the book's results."""
    from fgq.runs.execute import execute

    made = execute(short_run(run), out, report=report)
    told = []
    for name in run.publish:
        stored = book / "results" / FOLDER / f"{name}.csv"
        if not stored.is_file():
            told.append(f"{stored}: no table of the short run is stored")
            continue
        told += differences(pd.read_csv(stored), pd.read_csv(made.artefacts / f"{name}.csv"), run.replay)
    return told
