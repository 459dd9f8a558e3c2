"""A long run repeated in short: does today's code still compute what made a stored table?

Code changes without changing a number, when it becomes faster or tidier. A run file may therefore name a `replay`:
parameters with which its chapters take seconds. The table of that short run is stored beside the long one's, and when
the code has changed since, the short run is made again and must give the same.
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

FOLDER = "replay"


# Of learnt deviations, relative. Between AVX-512, AVX2 and SSE they moved by up to 20 %, by more where few scenes are
# measured: there a code that tips acts like another seed. Twice the largest step that was seen.
LEARNED_TOLERANCE = 0.5


@dataclass(frozen=True)
class Replay:
    parameters: dict  # for every chapter that has a parameter of that name
    compare: tuple[str, ...]  # columns of the table that must agree within the tolerance; texts must be equal
    tolerance: float  # relative; other machines round sums differently, which tips codes
    rows: dict[str, tuple] = field(default_factory=dict)  # by column, the values of the rows to compare; all if empty
    # Of rows whose numbers were learnt, by column: there a tipped code acts like another seed.
    learned: dict[str, tuple] = field(default_factory=dict)


def differences(then: pd.DataFrame, now: pd.DataFrame, replay: Replay) -> list[str]:
    """What differs between the tables of two short runs; empty when the code computes the same.

    Rows that the replay does not choose may be other ones: a metric that is new since then changes no stored number.
    """
    texts = [name for name in then.columns if then[name].map(lambda value: isinstance(value, str)).any()]
    wanted = (*texts, *replay.compare, *replay.rows, *replay.learned)
    missing = [name for name in wanted if name not in then or name not in now]
    if missing:
        return [f"column {missing[0]} is missing"]
    then, now = chosen(then, replay), chosen(now, replay)
    if len(then) != len(now):
        return [f"{len(now)} rows, not {len(then)}"]
    told = []
    for name in texts:
        if not then[name].fillna("").equals(now[name].fillna("")):
            told.append(f"column {name} differs")
    allowed = tolerances(then, replay)
    for name in replay.compare:
        near = np.isclose(now[name], then[name], rtol=allowed, atol=0, equal_nan=True)
        if not near.all():
            row = int(np.flatnonzero(~near)[0])
            label = " ".join(str(then[text].iloc[row]) for text in texts)
            told.append(f"{name} of {label} was {then[name].iloc[row]:.6g}, is {now[name].iloc[row]:.6g}")
    return told


def chosen(table: pd.DataFrame, replay: Replay) -> pd.DataFrame:
    """The rows that are compared, numbered anew."""
    return table[fitting(table, replay.rows)].reset_index(drop=True)


def fitting(table: pd.DataFrame, wanted: dict[str, tuple]) -> np.ndarray:
    """Which rows have one of the wanted values in every column named."""
    masks = [table[name].isin(values) for name, values in wanted.items()]
    return np.logical_and.reduce([np.ones(len(table), bool), *masks])


def tolerances(table: pd.DataFrame, replay: Replay) -> np.ndarray:
    """What each row may differ by."""
    if not replay.learned:
        return np.full(len(table), replay.tolerance)
    return np.where(fitting(table, replay.learned), LEARNED_TOLERANCE, replay.tolerance)
