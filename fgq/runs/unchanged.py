"""Whether anything has changed since a run ended well: by time and size of every file, without importing much.

A run that finds nothing to do still loads torch, parses the chapters and hashes the module. This looks first.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
MADE = ("notebooks", "artefacts", "provenance", "book.json", "book/_build/html/index.html")  # in the run's folder
MARK = "unchanged.json"
MOST_FILES = 20_000
VERSIONS = ("torch", "transformers", "numpy", "jupyter-book", "sphinx", "sphinx-book-theme", "myst-nb")
ROOT_FILES = ("_config.yml", "_toc.yml")


def inputs_state(run_file: Path, options: object) -> str:
    """Of all that decides a run: run file, chapters and what lies beside them, configuration, module, versions.

    To be taken before the run: what is edited while it runs must count as changed. Empty, which equals nothing, where
    the folders hold more files than a book does.
    """
    try:
        run_file = run_file.resolve()
    except (OSError, RuntimeError, ValueError):
        return ""
    book = run_file.parent.parent
    places = [run_file, book, PACKAGE, *(book.parent / name for name in ROOT_FILES)]
    return state(places, [str(run_file), options, [version_here(name) for name in VERSIONS]])


def outputs_state(out: Path) -> str:
    return state([out / name for name in MADE], [])


def is_unchanged(out: Path, inputs: str) -> bool:
    """Whether the run that was marked last had these inputs and what it made is as it left it."""
    try:
        mark = json.loads((out / MARK).read_text(encoding="utf-8"))
        return bool(inputs) and mark == {"inputs": inputs, "outputs": outputs_state(out)}
    except (OSError, ValueError):
        return False


def mark_unchanged(out: Path, inputs: str) -> None:
    text = json.dumps({"inputs": inputs, "outputs": outputs_state(out)})
    (out / MARK).write_text(text, encoding="utf-8")


def state(places: Iterable[Path], more: list) -> str:
    found = sorted(islice(files(places), MOST_FILES))
    if len(found) == MOST_FILES:
        return ""
    rows = [[str(path), stat.st_mtime_ns, stat.st_size] for path in found for stat in [path.stat()]]
    return hashlib.sha256(json.dumps([rows, more], default=str).encode(errors="backslashreplace")).hexdigest()


def files(places: Iterable[Path]) -> Iterator[Path]:
    for place in places:
        for path in place.rglob("*") if place.is_dir() else [place]:
            inside = path.relative_to(place).parts
            if path.is_file() and not any(part.startswith((".", "__pycache__")) for part in inside):
                yield path


def version_here(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
