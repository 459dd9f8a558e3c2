"""Whatever goes wrong behind the door is one line and a status; no process stays behind."""

import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import psutil
import pytest
import typer
from safetensors import SafetensorError

from fgq.commands.door import run_command
from fgq.errors import FgqError, RunFailure
from fgq.processes import is_alive

ROOT = Path(__file__).parents[2]
GONE = 30  # seconds within which a process has ended, however busy the machine


def behind_the_door(error):
    def app(**_):
        raise error

    return app


@pytest.mark.parametrize(
    "error, status, told",
    [
        (FgqError("bad\ninput"), 2, "bad input"),
        (OSError(28, "No space left on device", "out/x"), 2, "out/x: No space left on device"),
        (SafetensorError("header too small"), 2, "header too small"),
        (MemoryError(), 1, "out of memory"),
        (
            RuntimeError("[enforce fail at alloc] DefaultCPUAllocator: can't allocate memory: 9 bytes"),
            1,
            "out of memory",
        ),
        (RunFailure("chapter x"), 1, "chapter x"),
        (KeyboardInterrupt(), 130, "stopped"),
        (ModuleNotFoundError("No module named 'papermill'", name="papermill"), 2, "papermill is not installed"),
        (typer.BadParameter("no number"), 2, "no number"),
    ],
)
def test_every_error_is_one_line(capsys, error, status, told):
    assert run_command(behind_the_door(error)) == status
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("fgq: ") and told in line


def test_an_error_of_the_program_itself_is_not_hidden():
    for error in (RuntimeError("shapes differ"), ModuleNotFoundError("no fgq.lost", name="fgq.lost")):
        with pytest.raises(type(error)):
            run_command(behind_the_door(error))


def test_a_warning_is_one_line(capsys):
    def app(**_):
        warnings.warn("a loss\ndiverged", stacklevel=1)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert run_command(app) == 0
    assert capsys.readouterr().err == "fgq: a loss diverged\n"


def test_what_was_started_ends_with_a_stop(capsys):
    started = []

    def app(**_):
        started.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]))
        signal.raise_signal(signal.SIGTERM)

    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert run_command(app) == 128 + signal.SIGTERM
    assert started[0].wait(GONE) != 0
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


POOL = """
import os, sys, time
from fgq.processes import process_pool
if __name__ == "__main__":
    with process_pool(2) as pool:
        print(*{pool.submit(os.getpid).result(), os.getpid()}, flush=True)
        pool.submit(time.sleep, 600)
        {end}
"""


@pytest.mark.parametrize("end", ["time.sleep(600)", "raise ValueError"])
def test_workers_end_with_their_parent(tmp_path, end):
    """Killed outright, and by an error while a worker is busy, for which nobody waits."""
    program = tmp_path / "pool.py"
    program.write_text(POOL.replace("{end}", end))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, env=environment, stderr=-3)
    (worker,) = {int(pid) for pid in parent.stdout.readline().split()} - {parent.pid}
    if end.startswith("time"):
        parent.kill()
    parent.wait(GONE)
    until = time.monotonic() + GONE
    while any(process.pid == worker and is_alive(process) for process in psutil.process_iter()):
        assert time.monotonic() < until
        time.sleep(0.02)
