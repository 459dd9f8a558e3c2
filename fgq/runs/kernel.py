"""The kernel that chapters run in: this interpreter and no other, which ends with its run."""

import fcntl
import json
import os
import shutil
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fgq.errors import FgqError
from fgq.processes import bound_command, end_processes, on_signals, session_processes
from fgq.writing import reason, write_text

KERNEL = "python3"
NOTE = "process"  # in the kernel's folder: its number, see fgq.processes
GRACE_SECONDS = 2  # to end by itself, for a cell that is stopped and for what a chapter left behind


@contextmanager
def this_interpreter(folder: Path, variables: dict[str, str]) -> Iterator[Path]:
    """Inside, the kernel "python3" is this interpreter, whatever kernels and startup files the user has.

    Its environment has these `variables` besides those of this process. `folder`, of the kernel alone, is removed at
    the end; the path of the connection file comes back. When the block ends, when a signal stops this
    process and when it is killed, the kernel and all processes of its session end. Raises FgqError without a loopback
    interface.
    """
    check_loopback()
    command = bound_command(folder / NOTE, "ipykernel.kernelapp:launch_new_instance", "-f", "{connection_file}")
    about = {"argv": command, "display_name": "Python 3", "language": "python"}
    environment = {"IPYTHONDIR": str(folder / "ipython")} | variables
    write_text(folder / "kernels" / KERNEL / "kernel.json", json.dumps(about | {"env": environment}), "the kernel")
    before = os.environ.get("JUPYTER_PATH")
    os.environ["JUPYTER_PATH"] = os.pathsep.join([str(folder), *([before] if before else [])])
    try:
        with stopping(folder):
            yield folder / "connection.json"
    finally:
        if before is None:
            del os.environ["JUPYTER_PATH"]
        else:
            os.environ["JUPYTER_PATH"] = before
        end_kernel(folder, GRACE_SECONDS)


def check_loopback() -> None:
    """Kernels are talked to through it; without it one would wait a minute and learn nothing."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), timeout=5).close()
    except OSError as error:
        raise FgqError(
            f"127.0.0.1 cannot be reached ({reason(error)}), but kernels need the loopback interface: switch it on"
        ) from error


@contextmanager
def stopping(folder: Path) -> Iterator[None]:
    """SIGINT and SIGTERM inside interrupt the kernel's cell, then end the kernel; after the block they do what they
    would have done at once, and at least raise KeyboardInterrupt.

    An exception amid papermill instead would leave its notebook half written and its tasks to complain.
    """
    came, done = [], threading.Event()

    def stop(number, frame):
        came.append((number, frame))
        threading.Thread(target=interrupt_kernel, args=(folder, done), daemon=True).start()

    try:
        with on_signals(stop) as usual:
            yield
    finally:
        done.set()
        if came:
            number, frame = came[0]
            if callable(usual[number]):
                usual[number](number, frame)
            raise KeyboardInterrupt


def interrupt_kernel(folder: Path, done: threading.Event) -> None:
    """As when a cell is stopped in JupyterLab, so that the chapter may tidy up; later kills, until it is `done`."""
    with suppress(OSError, TypeError):  # not there yet, or no more
        os.kill(kernel_session(folder), signal.SIGINT)
    done.wait(GRACE_SECONDS)
    while not done.wait(0.1):
        with suppress(OSError, TypeError):
            os.killpg(kernel_session(folder), signal.SIGKILL)


def kernel_session(folder: Path) -> int | None:
    """The number of the kernel's process, which is that of its session; None where none was started."""
    try:
        return int((folder / NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def end_leftover(folder: Path) -> None:
    """Ends the kernel of a run that was killed, in the moment before it ends by itself, and removes its folder."""
    # A note that nobody holds may be old, its number another process's by now.
    if is_held(folder / NOTE):
        end_kernel(folder, 0)
    shutil.rmtree(folder, ignore_errors=True)


def end_kernel(folder: Path, grace: float) -> None:
    """Kills what is left of a kernel's session after `grace` seconds. Raises FgqError for what does not end."""
    session = kernel_session(folder)
    if not end_processes(lambda: session_processes(session), 0, grace):
        raise FgqError(f"{folder}: a kernel of this run does not end: end its processes, then run again")
    shutil.rmtree(folder, ignore_errors=True)


def is_held(note: Path) -> bool:
    try:
        with note.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
