"""Results that took hours: small tables kept with the book, each with the record of what made it."""

import shutil
from pathlib import Path

import pandas as pd

from fgq.errors import FgqError
from fgq.runs.chapters import read_chapter
from fgq.runs.provenance import read_json
from fgq.runs.replay import FOLDER as REPLAYS
from fgq.runs.runfile import RunFile, read_run_file
from fgq.runs.source import source_files, text_hash
from fgq.writing import whole_file, write_json, write_text

FOLDER = "results"


def publish(run: RunFile, artefacts: Path, record: dict) -> None:
    """Copies the run's published tables that a chapter wrote, by its record, to the book's results."""
    for name in run.publish:
        if f"{name}.csv" in record.get("artefacts", {}):
            text = (artefacts / f"{name}.csv").read_text(encoding="utf-8")
            about = {field: value for field, value in record.items() if field not in ("artefacts", "key")}
            save_results(run.book, name, text, about)
            if run.replay:
                with whole_file(run.book / FOLDER / REPLAYS / f"{name}.csv") as part:
                    shutil.copyfile(artefacts / REPLAYS / f"{name}.csv", part)


def save_results(book: Path, name: str, table: pd.DataFrame | str, record: dict) -> None:
    """Writes a table (or CSV text) and its record, made by `provenance`, to the book's results."""
    text = table if isinstance(table, str) else table.to_csv(index=False, float_format="%.9g")
    path = book / FOLDER / f"{name}.csv"
    write_text(path, text, "the table")
    write_json(path.with_suffix(".json"), record | {"table": name, "table_hash": text_hash(text)})


def check_published(run: RunFile, artefacts: Path) -> None:
    """Raises FgqError when a table that the run file publishes was written by no chapter."""
    missing = [name for name in run.publish if not (artefacts / f"{name}.csv").is_file()]
    if missing:
        raise FgqError(f"{run.path}: no chapter wrote {missing[0]}.csv, which the run file publishes")


def find_result(book: Path, name: str) -> tuple[Path, Path]:
    table = book / FOLDER / f"{name}.csv"
    record = table.with_suffix(".json")
    for path in (table, record):
        if not path.is_file():
            raise FgqError(f"{path}: no such result; make it with fgq run on the run file that publishes {name}")
    return table, record


def load_result(book: Path, name: str) -> tuple[pd.DataFrame, dict]:
    """A published table and its record."""
    table, record = find_result(Path(book), name)
    return pd.read_csv(table), read_record(record)


def read_record(path: Path) -> dict:
    """Raises FgqError unless it is what `save_results` wrote."""
    record = read_json(path)
    kinds = {"table_hash": str, "sources": dict}
    kinds |= (
        {"run": str, "chapter": str, "code_hash": str, "parameters": dict, "needs": dict} if "run" in record else {}
    )
    wrong = [name for name, kind in kinds.items() if not isinstance(record.get(name), kind)]
    if wrong:
        raise FgqError(f"{path}: no record of a result ({wrong[0]} is missing): make it again with fgq run")
    return record


def stale(book: Path, name: str) -> list[str]:
    """Reasons why a published table may no longer follow from code and parameters, by their fingerprints alone.

    Counted are the module's computing code with the weights (file by file), and, for a table made by a run file, the
    chapter's code cells and its parameters and those of the chapters it needs.
    """
    table, path = find_result(book, name)
    record = read_record(path)
    reasons = []
    if text_hash(table.read_text(encoding="utf-8")) != record["table_hash"]:
        reasons.append(f"{table.name} was edited")
    reasons += changed_sources(record)
    if "run" in record:
        reasons += outdated_settings(book, record)
    return reasons


def changed_sources(record: dict) -> list[str]:
    then, now = record["sources"], source_files()
    # A file that is new since then can only matter through a change to one of these, or to the chapter.
    return [f"{file} changed" for file in sorted(then) if then[file] != now.get(file)]


def outdated_settings(book: Path, record: dict) -> list[str]:
    chapter = record["chapter"]
    try:
        run = read_run_file(book / "runs" / record["run"])
        steps = {step.chapter.name: step.all_parameters for step in run.steps}
        code_hash = read_chapter(book, chapter).code_hash
    except FgqError as error:
        return [str(error)]
    reasons = [f"the code of chapter {chapter} changed"] if code_hash != record["code_hash"] else []
    for name, parameters in ({chapter: record["parameters"]} | record["needs"]).items():
        if steps.get(name) != parameters:
            reasons.append(f"the parameters of chapter {name} in {record['run']} changed")
    return reasons
