"""However a run ends, nothing of it lives on and nothing is left that was not there: real processes, real signals."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil

from fgq.writing import locked

ROOT = Path(__file__).parents[2]
ROUNDS = os.environ.get("FGQ_KILL_ROUNDS")  # 10 is a long look: so many times two kills of `fgq run`; else one kill
SLEEPER = (
    "import subprocess, time\n"
    "child = subprocess.Popen(['sh', '-c', 'sleep 600; true', os.getcwd()])\n"
    "Path('started').touch()\n"
    "time.sleep(600)"
)


class Command:
    """`fgq run` on the tiny book as a process, with a folder for temporary files of its own."""

    def __init__(self, book):
        self.book, self.temporary = book, book.root / "temporary"
        self.temporary.mkdir(exist_ok=True)

    def start(self) -> subprocess.Popen:
        call = [sys.executable, "-c", "from fgq.commands.cli import main; main()", "run", self.book.run_file]
        environment = os.environ | {"TMPDIR": str(self.temporary), "PYTHONPATH": str(ROOT)}
        return subprocess.Popen(
            [*call, "--out", self.book.out], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def others(self) -> list[psutil.Process]:
        """Living processes of the run folder beside the command: kernels and what chapters started."""
        found = []
        for process in psutil.process_iter(["cmdline", "status"]):
            words = process.info["cmdline"] or []
            if process.info["status"] != psutil.STATUS_ZOMBIE and "run" not in words:
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
        run.send_signal(number)
    for number, (command, run) in runs.items():
        _, told = run.communicate(timeout=90)
        command.assert_nothing_left()
        assert run.returncode == (-number if number == signal.SIGKILL else 128 + number) and "Traceback" not in told
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
            run.communicate(timeout=30)
        _, told = command.book.execute()
        assert results(command.book) == expected, told
        command.assert_nothing_left()
        assert not (command.book.out / ".kernel").exists()
        assert not list(command.book.out.rglob(".*.part")) and not list((command.book.out / "unfinished").iterdir())
