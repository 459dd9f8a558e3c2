"""A chapter: a MyST text notebook with one cell of parameters."""

import ast
from dataclasses import dataclass, replace
from pathlib import Path

import jupytext
import nbformat

from fgq.errors import FgqError
from fgq.provenance.source import syntax, text_hash
from fgq.runs.plain_yaml import one_line

PARAMETERS_TAG = "parameters"
INJECTED_TAG = "injected-parameters"  # papermill's cell with the run file's parameters
ONLY = "only-"  # a cell tagged only-vggt-tiny is for the editions of the book that are about vggt-tiny
NOT = "not-"  # and one tagged not-vggt-tiny for all others


@dataclass(frozen=True)
class Chapter:
    name: str
    path: Path
    notebook: nbformat.NotebookNode
    defaults: dict  # parameter name to default value, as the tagged cell assigns them

    @property
    def code_hash(self) -> str:
        """Fingerprint of what the code cells compute; prose, comments and layout do not count."""
        cells = [syntax(without_magics(cell.source)) for cell in code_cells(self.notebook)]
        return text_hash("\0".join(cells))

    def edition(self, parameters: dict) -> "Chapter":
        """Without the cells that are for another model or dataset: those tagged only-NAME, where no text among the
        parameters is NAME, and those tagged not-NAME, where one is."""
        texts = {value for value in parameters.values() if isinstance(value, str)}

        def is_kept(cell: nbformat.NotebookNode) -> bool:
            tags = tags_of(cell)
            wanted = {tag.removeprefix(ONLY) for tag in tags if tag.startswith(ONLY)}
            return wanted <= texts and not any(f"{NOT}{text}" in tags for text in texts)

        cells = list(filter(is_kept, self.notebook.cells))
        return replace(self, notebook=nbformat.from_dict(self.notebook | {"cells": cells}))

    def own(self, values: dict) -> dict:
        """Those that this chapter has parameters for."""
        return {name: value for name, value in values.items() if name in self.defaults}


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tags_of(cell: nbformat.NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def is_tagged(cell: nbformat.NotebookNode, tag: str) -> bool:
    return tag in tags_of(cell)


def without_magics(source: str) -> str:
    """A cell as plain Python; a magic counts by its text."""
    lines = source.splitlines()
    if lines and lines[0].startswith("%%"):
        return repr(source)
    return "\n".join(
        line[: len(line) - len(line.lstrip())] + repr(line.strip()) if line.lstrip().startswith(("%", "!")) else line
        for line in lines
    )


def read_chapter(folder: Path, name: str) -> Chapter:
    """The chapter `name` of a book folder.

    Raises FgqError for a missing file, a header without kernel, a cell that is no Python, a broken parameters cell.
    """
    path = folder / f"{name}.md"
    if not path.is_file():
        known = sorted(file.stem for file in folder.glob("*.md"))
        raise FgqError(f"there is no chapter {name!r} ({path}); the book has {', '.join(known) or 'none'}")
    try:
        notebook = jupytext.read(path)
    except Exception as error:  # jupytext raises whatever its parsers raise
        raise FgqError(f"{path}: not readable as a text notebook: {one_line(str(error))}") from error
    if "kernelspec" not in notebook.metadata:
        raise FgqError(f"{path}: the header has no kernelspec: add kernelspec: name: python3")
    for number, cell in enumerate(code_cells(notebook), start=1):
        try:
            ast.parse(without_magics(cell.source))
        except SyntaxError as error:
            raise FgqError(f"{path}: code cell {number}, line {error.lineno}: {error.msg}") from error
    tagged = [cell for cell in code_cells(notebook) if is_tagged(cell, PARAMETERS_TAG)]
    if len(tagged) > 1:
        raise FgqError(f"{path}: {len(tagged)} cells are tagged {PARAMETERS_TAG!r}; a chapter has one")
    return Chapter(name, path, notebook, read_defaults(tagged[0].source, path) if tagged else {})


def read_defaults(source: str, path: Path) -> dict:
    """Names and literal values that a parameters cell assigns.

    Raises FgqError for anything but plain assignments: what is derived there would not follow a changed parameter.
    """
    defaults = {}
    for statement in ast.parse(source).body:
        target = statement.targets[0] if isinstance(statement, ast.Assign) else getattr(statement, "target", None)
        try:
            defaults[target.id] = ast.literal_eval(statement.value)
        except (AttributeError, ValueError) as error:
            raise FgqError(
                f"{path}: line {statement.lineno} of the parameters cell is not a plain assignment of a literal: move "
                "it to a later cell"
            ) from error
    return defaults
