"""Whether a stored table still follows from today's code: by fingerprints, and where these differ by a short run."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from fgq.errors import FgqError
from fgq.provenance.replay import FOLDER as REPLAYS
from fgq.provenance.replay import differences
from fgq.provenance.results import FOLDER, changed_sources, find_result
from fgq.provenance.source import text_hash
from fgq.runs.execute import short_tables
from fgq.runs.runfile import RunFile, read_run_file


def outdated(book: Path, name: str, scratch: Path | None = None, report: Callable[[str], None] = print) -> list[str]:
    """Reasons why a published table no longer follows from code and parameters; empty when it does.

    Fingerprints are compared of the table, of the module's computing code with the weights (file by file), of the
    chapter's code cells, its parameters and those of the chapters it needs. Where only code differs and the run file
    has a replay, it is made in the folder `scratch`, if there is one, and the reasons are the numbers that it gives
    differently.
    """
    table, record = find_result(book, name)
    told = [] if text_hash(table.read_text(encoding="utf-8")) == record["table_hash"] else [f"{table.name} was edited"]
    code = changed_sources(record)
    try:
        run = read_run_file(book / "runs" / record["run"])
    except FgqError as error:
        return [*told, *code, str(error)]
    steps = {step.chapter.name: step for step in run.steps}
    for chapter, parameters in ({record["chapter"]: record["parameters"]} | record["needs"]).items():
        if chapter not in steps or steps[chapter].all_parameters != parameters:
            told.append(f"the parameters of chapter {chapter} in {record['run']} changed")
    made_by = steps.get(record["chapter"])
    if made_by and made_by.chapter.code_hash != record["code_hash"]:
        code.append(f"the code of chapter {record['chapter']} changed")
    if scratch and run.replay and code and not told:
        return replay_differences(run, scratch, report)
    return told + code


def replay_differences(run: RunFile, out: Path, report: Callable[[str], None]) -> list[str]:
    """Makes the short run in `out` and compares its tables with those stored under the book's results."""
    told = []
    for name, table in short_tables(run, out, report).items():
        stored = run.book / FOLDER / REPLAYS / f"{name}.csv"
        if not stored.is_file():
            told.append(f"{stored}: no table of the short run is stored")
            continue
        told += differences(pd.read_csv(stored), pd.read_csv(table), run.replay)
    return told
