"""The one door of all commands: whatever goes wrong behind it is one line and a status, and no process stays behind."""

import signal
import warnings
from collections.abc import Callable

import typer
from safetensors import SafetensorError

from fgq.errors import FgqError, RunFailure
from fgq.processes import child_processes, end_children, on_signals
from fgq.writing import reason

FAILED, BAD_INPUT = 1, 2
BY_SIGNAL = 128  # and the signal's number, as shells count
STOPPED = BY_SIGNAL + signal.SIGINT
UsageError = typer.BadParameter.__base__  # which typer does not name
BOOK_PACKAGES = ("jupytext", "papermill", "nbformat", "nbclient", "jupyter_client", "ipykernel")  # of the extra "book"
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "Storage size calculation overflowed")


class Stopped(RuntimeError):
    """A command was interrupted. One line that says what is kept."""


def run_command(app: Callable[..., int | None]) -> int:
    """Exit status of `app`: 2 for bad input, 1 for a crash, 128 and its number for a signal.

    A signal ends what the command has started too. Errors of the program itself come through as they are.
    """
    before, received = child_processes(), signal.SIGINT

    def interrupt(number: int, _) -> None:
        nonlocal received
        received = number
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_DFL)  # a second one ends the process where it stands
        raise KeyboardInterrupt

    with warnings.catch_warnings(), on_signals(interrupt):
        warnings.showwarning = lambda message, *_, **__: say(message)  # without a line of source
        line, status = "", STOPPED
        try:
            status = app(standalone_mode=False, prog_name="fgq") or 0  # STOPPED too, which typer makes of an interrupt
        except (KeyboardInterrupt, typer.Abort):
            pass
        except Exception as error:
            line, status = explain(error)
            if status is None:
                raise
        if status == STOPPED:
            end_children(before)
            line, status = line or "stopped", BY_SIGNAL + received
        if line:
            say(line)
        return status


def explain(error: Exception) -> tuple[str, int | None]:
    """In one line, with the exit status; None for an error that no input can be blamed for."""
    if isinstance(error, Stopped):
        return str(error), STOPPED
    if isinstance(error, UsageError):
        return error.format_message(), BAD_INPUT
    if isinstance(error, FgqError):
        return str(error), BAD_INPUT
    if isinstance(error, RunFailure):
        return str(error), FAILED
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename is not None else ""
        return f"{where}{reason(error)}: choose another path, or free some space", BAD_INPUT
    if isinstance(error, SafetensorError):
        return f"not a whole safetensors file ({reason(error)}): copy, download or make it again", BAD_INPUT
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and names_memory(str(error))):
        return f"out of memory ({reason(error)}): fewer or smaller images take less", FAILED
    if isinstance(error, ModuleNotFoundError) and error.name in BOOK_PACKAGES:
        return f"{error.name} is not installed: pip install -e '.[book]' brings what runs and books need", BAD_INPUT
    return "", None


def names_memory(told: str) -> bool:
    return any(words in told for words in OUT_OF_MEMORY)  # torch has no class of its own for it on a CPU


def say(message: object) -> None:
    """One line on the error stream."""
    typer.echo(f"fgq: {' '.join(str(message).split())}", err=True)
