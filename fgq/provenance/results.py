"""Results that took hours: small tables kept with the book, each with the record of what made it.

Code changes without changing a number, when it becomes faster or tidier. A run file may therefore name a `replay`:
parameters with which its chapters take seconds. The table of that short run is stored beside the long one's, and when
the code has changed since, the short run is made again and must give the same.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from fgq.errors import FgqError
from fgq.provenance.record import read_json
from fgq.provenance.source import source_files, text_hash
from fgq.writing import write_json, write_text

FOLDER, REPLAYS = "results", "replay"
SHIPPED = Path(__file__).parents[2] / "book"  # for chapters that papermill runs somewhere else
TEXTS, MAPPINGS = ("run", "chapter", "code_hash", "table_hash"), ("sources", "parameters", "needs")  # of a record
KINDS = dict.fromkeys(TEXTS, str) | dict.fromkeys(MAPPINGS, dict)
# Of learnt deviations, relative. Between AVX-512, AVX2 and SSE they moved by up to 20 %, by more where few scenes are
# measured: there a code that tips acts like another seed. Twice the largest step that was seen.
LEARNED_TOLERANCE = 0.5


def save_result(book: Path, name: str, table: str, record: dict) -> None:
    """Writes a table (CSV text) and its record, made by `provenance`, to the book's results."""
    path = book / FOLDER / f"{name}.csv"
    write_text(path, table, "the table")
    write_json(path.with_suffix(".json"), record | {"table": name, "table_hash": text_hash(table)})


def find_result(book: Path, name: str) -> tuple[Path, dict]:
    """The file of a published table, and its record; raises FgqError unless they are what `save_result` wrote."""
    table = book / FOLDER / f"{name}.csv"
    path = table.with_suffix(".json")
    for file in (table, path):
        if not file.is_file():
            raise FgqError(f"{file}: no such result; make it with fgq run on the run file that publishes {name}")
    record = read_json(path)
    wrong = [field for field, kind in KINDS.items() if not isinstance(record.get(field), kind)]
    if wrong:
        raise FgqError(f"{path}: no record of a result ({wrong[0]} is missing): make it again with fgq run")
    return table, record


def load_result(book: Path | str, name: str) -> tuple[pd.DataFrame, dict]:
    """A published table and its record, from the results in `book`, or those shipped where it has no such table."""
    book = Path(book)
    table, record = find_result(book if (book / FOLDER / f"{name}.csv").exists() else SHIPPED, name)
    return pd.read_csv(table), record


def changed_sources(record: dict) -> list[str]:
    """By name, the files of the module that made a table and are others today."""
    then, now = record["sources"], source_files()
    # A file that is new since then can only matter through a change to one of these, or to the chapter.
    return [f"{file} changed" for file in sorted(then) if then[file] != now.get(file)]


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
    then, now = (table[fitting(table, replay.rows)].reset_index(drop=True) for table in (then, now))
    if len(then) != len(now):
        return [f"{len(now)} rows, not {len(then)}"]
    told = [f"column {name} differs" for name in texts if not then[name].fillna("").equals(now[name].fillna(""))]
    learned = fitting(then, replay.learned) & bool(replay.learned)
    allowed = np.where(learned, LEARNED_TOLERANCE, replay.tolerance)
    for name in replay.compare:
        near = np.isclose(now[name], then[name], rtol=allowed, atol=0, equal_nan=True)
        if not near.all():
            row = int(np.flatnonzero(~near)[0])
            label = " ".join(str(then[text].iloc[row]) for text in texts)
            told.append(f"{name} of {label} was {then[name].iloc[row]:.6g}, is {now[name].iloc[row]:.6g}")
    return told


def fitting(table: pd.DataFrame, wanted: dict[str, tuple]) -> np.ndarray:
    """Which rows have one of the wanted values in every column named."""
    masks = [table[name].isin(values) for name, values in wanted.items()]
    return np.logical_and.reduce([np.ones(len(table), bool), *masks])
