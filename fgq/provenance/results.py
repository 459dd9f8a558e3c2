"""Results that took hours: small tables kept with the book, each with the record of what made it."""

from pathlib import Path

import pandas as pd

from fgq.errors import FgqError
from fgq.provenance.record import read_json
from fgq.provenance.source import source_files, text_hash
from fgq.writing import write_json, write_text

FOLDER = "results"
TEXTS, MAPPINGS = ("run", "chapter", "code_hash", "table_hash"), ("sources", "parameters", "needs")  # of a record
KINDS = dict.fromkeys(TEXTS, str) | dict.fromkeys(MAPPINGS, dict)


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
    """A published table and its record."""
    table, record = find_result(Path(book), name)
    return pd.read_csv(table), record


def changed_sources(record: dict) -> list[str]:
    """By name, the files of the module that made a table and are others today."""
    then, now = record["sources"], source_files()
    # A file that is new since then can only matter through a change to one of these, or to the chapter.
    return [f"{file} changed" for file in sorted(then) if then[file] != now.get(file)]
