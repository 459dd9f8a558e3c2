"""Executes one notebook through papermill, and says in one line what went wrong."""

import builtins
import inspect
import json
from collections.abc import Callable
from pathlib import Path

import jupytext
import nbformat
import papermill
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

from fgq.errors import FgqError, RunFailure
from fgq.provenance.record import device
from fgq.runs.chapters import Chapter, code_cells, is_tagged
from fgq.runs.kernel import KERNEL
from fgq.runs.plain_yaml import one_line
from fgq.writing import reason, write_text

INJECTED_TAG = "injected-parameters"  # papermill's cell with the run file's parameters
ERROR_TAG = "papermill-error-cell-tag"  # papermill's notes around a failing cell
TOLD_TAG = "fgq-told"  # our last cell, which tells what the chapter has imported of this package, and its device
TOLD = f"""import json, sys
{inspect.getsource(device)}
print(json.dumps([device(), sorted(name for name in sys.modules if name.partition(".")[0] == "fgq")]))"""


def execute_notebook(
    chapter: Chapter,
    parameters: dict,
    target: Path,
    folder: Path,
    label: str,
    connection: Path,
    cell_seconds: int | None = None,
) -> tuple[str, list[str]]:
    """Runs a chapter in `folder` and writes it, whole or partial, to `target`, talking through the file `connection`.

    Returns the device that it computed on and the modules of fgq that it imported. Raises FgqError when the chapter's
    code raised one (bad input), RunFailure for any other error, a cell over its time limit, a kernel that died or did
    not start, or a cell that was not reached.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    source = connection.with_name("source.ipynb")
    watched = nbformat.from_dict(chapter.notebook)
    watched.cells = [*watched.cells, nbformat.v4.new_code_cell(TOLD, metadata={"tags": [TOLD_TAG]})]
    jupytext.write(watched, source)
    try:
        papermill.execute_notebook(
            literal_path(source),
            literal_path(target),
            parameters=parameters,
            kernel_name=KERNEL,
            cwd=str(folder),
            execution_timeout=cell_seconds,
            progress_bar={"desc": label, "dynamic_ncols": True},
            config=Config(KernelManager={"connection_file": str(connection)}),
        )
    except PapermillExecutionError as error:
        known = hasattr(builtins, error.ename)  # spares the search, which imports much
        kind = FgqError if not known and error.ename in names_of(FgqError) else RunFailure
        where = last(target, has_error)
        what = error.evalue if kind is FgqError else f"{error.ename}: {error.evalue}"
        raise kind(f"chapter {chapter.name}, {where}: {one_line(what)} (so far: {target})") from error
    except (CellTimeoutError, DeadKernelError) as error:
        where = last(target, was_started)
        slow = f"took longer than {cell_seconds} s"
        what = slow if isinstance(error, CellTimeoutError) else "the kernel died, out of memory perhaps"
        raise RunFailure(f"chapter {chapter.name}, {where}: {what} (so far: {target})") from error
    except RuntimeError as error:  # of a kernel that does not answer when it is started
        raise RunFailure(f"chapter {chapter.name}: its kernel did not start: {one_line(str(error))}") from error
    except OSError as error:
        raise FgqError(f"{target}: cannot be written ({reason(error)}): free some space or choose --out") from error
    check_all_ran(chapter, target)
    told = [cell for cell in code_cells(nbformat.read(target, as_version=4)) if is_tagged(cell, TOLD_TAG)]
    return tuple(json.loads("".join(output.get("text", "") for output in told[0].outputs).splitlines()[-1]))


def literal_path(path: Path) -> str:
    """papermill fills {names} into its paths; a folder may have braces of its own."""
    return str(path).replace("{", "{{").replace("}", "}}")


def names_of(kind: type) -> set[str]:
    """Names of an error class and of all classes made from it, of which only the name comes out of a kernel."""
    import fgq.calibrate  # noqa: F401  they define theirs when they are imported
    import fgq.checkpoint  # noqa: F401
    import fgq.evaluation  # noqa: F401

    return {kind.__name__}.union(*(names_of(child) for child in kind.__subclasses__()))


def read_own_cells(path: Path) -> list[nbformat.NotebookNode]:
    """The chapter's code cells in an executed notebook, without those that were added to run it."""
    cells = code_cells(nbformat.read(path, as_version=4))
    return [cell for cell in cells if not any(is_tagged(cell, t) for t in (INJECTED_TAG, ERROR_TAG, TOLD_TAG))]


def has_error(cell: nbformat.NotebookNode) -> bool:
    return any(output.output_type == "error" for output in cell.outputs)


def was_started(cell: nbformat.NotebookNode) -> bool:
    return bool(cell.metadata.get("papermill", {}).get("start_time"))


def describe_cell(cells: list[nbformat.NotebookNode], index: int) -> str:
    """Its number, from 1, and its first line."""
    lines = cells[index].source.strip().splitlines() or [""]
    return f"code cell {index + 1} of {len(cells)} ({lines[0][:60]})"


def last(path: Path, chosen: Callable[[nbformat.NotebookNode], bool]) -> str:
    cells = read_own_cells(path)
    return describe_cell(cells, max((i for i, cell in enumerate(cells) if chosen(cell)), default=0))


def check_all_ran(chapter: Chapter, path: Path) -> None:
    """A cell may end the kernel with a clean exit, which papermill takes for success; then what follows never ran."""
    cells = read_own_cells(path)
    for index, cell in enumerate(cells):
        never_ran = bool(cell.source.strip()) and cell.execution_count is None
        if has_error(cell) or never_ran:
            what = "it did not run" if never_ran else "it ended the chapter before its last cell could run"
            raise RunFailure(f"chapter {chapter.name}, {describe_cell(cells, index)}: {what} (so far: {path})")


def renew(chapter: Chapter, path: Path) -> bool:
    """Gives an executed notebook today's text, comments and cell metadata; what the same code gave out stays.

    Returns False, and does nothing, where it is no notebook of the chapter.
    """
    try:
        executed = nbformat.read(path, as_version=4)
    except Exception:  # nbformat raises whatever a damaged file makes it stumble over
        return False
    injected = [cell for cell in code_cells(executed) if is_tagged(cell, INJECTED_TAG)]
    done = [cell for cell in code_cells(executed) if not is_tagged(cell, INJECTED_TAG)]
    if len(done) < len(code_cells(chapter.notebook)):
        return False
    ran = iter(done)
    cells = []
    for cell in chapter.notebook.cells:
        if cell.cell_type == "code":
            done = next(ran)
            cell = nbformat.from_dict(cell | {"outputs": done.outputs, "execution_count": done.execution_count})
        cells.append(cell)
        if is_tagged(cell, "parameters"):
            cells += injected
    executed.cells = cells
    executed.metadata.pop("papermill", None)  # it holds paths of this machine
    write_text(path, nbformat.writes(executed) + "\n", "the notebook")
    return True
