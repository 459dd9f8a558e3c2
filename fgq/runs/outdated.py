"""Whether a stored table still follows from today's code: by fingerprints, and where these differ by a short run."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from fgq.runs.execute import execute
from fgq.runs.replay import FOLDER as REPLAYS
from fgq.runs.replay import differences, short_run
from fgq.runs.results import FOLDER, changed_sources, find_result, read_record, stale
from fgq.runs.runfile import RunFile, read_run_file


def outdated(book: Path, name: str, scratch: Path, report: Callable[[str], None] = print) -> list[str]:
    """Reasons why a published table no longer follows from code and parameters; empty when it does.

    Like `stale`, but where only files of the module changed and the run file has a replay, it is made in `scratch`, and
    the reasons are the numbers that it gives differently.
    """
    reasons = stale(book, name)
    _, path = find_result(book, name)
    record = read_record(path)
    if not reasons or "run" not in record or reasons != changed_sources(record):
        return reasons
    run = read_run_file(book / "runs" / record["run"])
    return replay_differences(run, book, scratch, report) if run.replay else reasons


def replay_differences(run: RunFile, book: Path, out: Path, report: Callable[[str], None]) -> list[str]:
    """Makes the short run in `out` and compares its tables with those stored under the book's results."""
    made = execute(short_run(run), out, report=report)
    told = []
    for name in run.publish:
        stored = book / FOLDER / REPLAYS / f"{name}.csv"
        if not stored.is_file():
            told.append(f"{stored}: no table of the short run is stored")
            continue
        told += differences(pd.read_csv(stored), pd.read_csv(made.artefacts / f"{name}.csv"), run.replay)
    return told
