"""However a run ends, nothing of it lives on and nothing is left that was not there: real processes, real signals."""

import os
import random
import shutil
import signal
import sys
import tempfile
import time
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

import nbformat
import psutil

from fgq.commands.cli import main
from fgq.writing import locked

ROUNDS = os.environ.get("FGQ_KILL_ROUNDS")  # 10 is a long look: so many times two kills of `fgq run`; else one kill
SLEEPER = (
    "import subprocess, time\n"
    "child = subprocess.Popen(['sh', '-c', 'sleep 600; true', os.getcwd()])\n"
    "Path('started').touch()\n"
    "time.sleep(600)"
)


# Processes that have imported already what takes seconds.
SERVER = get_context("forkserver")
SERVER.set_forkserver_preload(["fgq.commands.cli", "fgq.runs.execute"])


def fgq_run(file: Path, out: Path, temporary: Path) -> None:
    """In a process of its own: `fgq run`, with a folder for temporary files, and with what it says in a file."""
    tempfile.tempdir, os.environ["TMPDIR"] = None, str(temporary)
    said = os.open(temporary.with_suffix(".txt"), os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(said, stream)
    sys.argv = ["fgq", "run", str(file), "--out", str(out)]
    main()


class Command:
    """`fgq run` on the tiny book as a process."""

    def __init__(self, book):
        self.book, self.temporary = book, book.root / "temporary"
        self.temporary.mkdir(exist_ok=True)

    def start(self) -> BaseProcess:
        process = SERVER.Process(target=fgq_run, args=(self.book.run_file, self.book.out, self.temporary))
        process.start()
        return process

    def others(self) -> list[psutil.Process]:
        """Living processes of the run folder beside the command: kernels and what chapters started."""
        found = []
        for process in psutil.process_iter(["cmdline", "status"]):
            words = process.info["cmdline"] or []
            if process.info["status"] != psutil.STATUS_ZOMBIE:
                found += [process] if any(str(self.book.out) in word for word in words) else []
        return found

    def assert_nothing_left(self) -> None:
        wait_for(lambda: not self.others())
        assert list(self.temporary.iterdir()) == []
        with locked(self.book.out):
            pass


def wait_for(happened, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def test_a_signal_ends_the_kernel_and_what_the_chapter_started(tiny_book, tmp_path):
    runs = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        command = Command(tiny_book(tmp_path / number.name).write())
        command.book.edit(command.book.pages / "first.md", "print(count", f"{SLEEPER}\nprint(count")
        runs[number] = command, command.start()
    for number, (command, run) in runs.items():
        wait_for((command.book.out / "artefacts" / "started").exists)
        assert len(command.others()) == 2
        os.kill(run.pid, number)
    for number, (command, run) in runs.items():
        run.join(90)
        told = command.temporary.with_suffix(".txt").read_text()
        command.assert_nothing_left()
        assert run.exitcode == (-number if number == signal.SIGKILL else 128 + number) and "Traceback" not in told
        partial = nbformat.read(command.book.out / "unfinished" / "first.ipynb", as_version=4)
        assert [cell.execution_count for cell in partial.cells if cell.cell_type == "code"][:3] == [1, 2, 3]


def results(book) -> dict:
    """All that a run gives, without what may differ: times, places, fingerprints of notebooks that hold them."""
    notebooks = {
        path.name: [cell.outputs for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"][:-1]
        for path in (book.out / "notebooks").iterdir()
    }
    files = [path for path in (book.out / "artefacts").rglob("*") if path.is_file()]
    files += [book.pages / "results" / "table.csv"]
    return notebooks | {path.name: path.read_text() for path in files}


def test_a_run_that_is_killed_at_any_moment_gives_the_same_when_it_is_repeated(fresh_book, executed_once):
    command, expected = Command(fresh_book), results(executed_once[0])
    moments = random.Random(os.environ.get("FGQ_KILL_SEED", "0"))
    for _ in range(int(ROUNDS or 1)):
        shutil.rmtree(command.book.out, ignore_errors=True)
        for _ in range(2 if ROUNDS else 1):  # the repetition is killed too
            run = command.start()
            wait_for((command.book.out / ".lock").exists)
            time.sleep(moments.uniform(0, 6 if ROUNDS else 3))
            run.kill()
            run.join(90)
        _, told = command.book.execute()
        assert results(command.book) == expected, told
        command.assert_nothing_left()
        assert not (command.book.out / ".kernel").exists()
        assert not list(command.book.out.rglob(".*.part")) and not list((command.book.out / "unfinished").iterdir())
