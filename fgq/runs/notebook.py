"""Executes one notebook through papermill, and says in one line what went wrong."""

import builtins
import inspect
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jupytext
import nbformat
import papermill
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

from fgq.errors import FgqError, RunFailure
from fgq.provenance.record import device, gpu_peak_bytes
from fgq.runs.chapters import INJECTED_TAG, Chapter, code_cells, is_tagged
from fgq.runs.kernel import KERNEL
from fgq.runs.plain_yaml import one_line
from fgq.writing import reason, write_text

COLOURS = re.compile(r"\x1b\[[\d;]*m")
FRAME = re.compile(r"Cell In\[(\d+)\], line (\d+)")  # of IPython's tracebacks
ERROR_TAG = "papermill-error-cell-tag"  # papermill's notes around a failing cell
TOLD_TAG = "fgq-told"  # our last cell, which tells what the chapter has imported of this package, and its device
TOLD = f"""import json, sys
{inspect.getsource(device)}
{inspect.getsource(gpu_peak_bytes).replace("int | None", "object")}
print(json.dumps([device(), gpu_peak_bytes(), sorted(n for n in sys.modules if n.partition(".")[0] == "fgq")]))"""


@dataclass(frozen=True)
class Executed:
    """What is known of a chapter once it has run."""

    device: str  # that it computed on
    gpu_bytes: int | None  # peak of its tensors there; None on the CPU
    imported: list[str]  # modules of fgq
    cells: list[dict]  # of each code cell its number, first line and seconds


def execute_notebook(
    chapter: Chapter,
    parameters: dict,
    target: Path,
    folder: Path,
    label: str,
    connection: Path,
    cell_seconds: int | None = None,
) -> Executed:
    """Runs a chapter in `folder` and writes it, whole or partial, to `target`, talking through the file `connection`.

    Raises FgqError when the chapter's code raised one (bad input), RunFailure for any other error, a cell over its time
    limit, a kernel that died or did not start, or a cell that was not reached.
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
        where = last(target, has_error, line=True)
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
    facts = json.loads("".join(output.get("text", "") for output in told[0].outputs).splitlines()[-1])
    return Executed(*facts, cell_times(target))


def cell_times(path: Path) -> list[dict]:
    """Of the chapter's own code cells, as papermill noted them."""
    cells = read_own_cells(path)
    taken = [cell.metadata.get("papermill", {}).get("duration") for cell in cells]
    return [
        {"cell": number, "line": first_line(cell), "seconds": round(seconds or 0.0, 2)}
        for number, (cell, seconds) in enumerate(zip(cells, taken, strict=True), start=1)
    ]


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


def first_line(cell: nbformat.NotebookNode) -> str:
    return (cell.source.strip().splitlines() or [""])[0][:60]


def describe_cell(cells: list[nbformat.NotebookNode], index: int, line: bool = False) -> str:
    """Its number, from 1, and its first line; or the number and text of the `line` at which an error was raised."""
    number = failing_line(cells[index]) if line else None
    if number is None:
        return f"code cell {index + 1} of {len(cells)} ({first_line(cells[index])})"
    text = cells[index].source.splitlines()[number - 1].strip()
    return f"code cell {index + 1} of {len(cells)}, line {number} ({text[:60]})"


def failing_line(cell: nbformat.NotebookNode) -> int | None:
    """From 1, in the cell itself: the last of its lines in the traceback; None where there is none."""
    errors = [output for output in cell.outputs if output.output_type == "error"]
    text = COLOURS.sub("", "\n".join(line for error in errors for line in error.get("traceback", ())))
    found = [int(number) for count, number in FRAME.findall(text) if int(count) == cell.execution_count]
    return found[-1] if found and found[-1] <= len(cell.source.splitlines()) else None


def last(path: Path, chosen: Callable[[nbformat.NotebookNode], bool], line: bool = False) -> str:
    cells = read_own_cells(path)
    return describe_cell(cells, max((i for i, cell in enumerate(cells) if chosen(cell)), default=0), line)


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
