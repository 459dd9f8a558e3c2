"""Sweeps whose points take no time, each of which writes into a log of its own."""

import uuid
from pathlib import Path

import pytest

FUNCTION = '''
import os, signal, time
from pathlib import Path


def score(number: int, word: str = "x", log: str = "", kill: str = "", fail: list[int] = [], folder=None):
    """Writes a line into the log when it is through. The first one to find no file `kill` makes it and kills itself."""
    (folder / "own.txt").write_text(word)
    if kill and number == 5:
        try:
            os.close(os.open(kill, os.O_CREAT | os.O_EXCL))
            os.kill(os.getpid(), signal.SIGKILL)
        except FileExistsError:
            pass
    if number in fail:
        raise ValueError(f"no number {number} <today>")
    time.sleep(0.05)
    descriptor = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.write(descriptor, f"{number} {word} {os.getpid()}\\n".encode())
    os.close(descriptor)
    return {"square": number**2, "letters": len(word)}
'''


class Trial:
    """A folder with a sweep file and a module of a name that no other test has imported."""

    def __init__(self, root: Path):
        self.root, self.log, self.out = root, root / "log.txt", root / "out"
        self.module = f"scored_{uuid.uuid4().hex[:8]}"
        root.mkdir(exist_ok=True)
        (root / f"{self.module}.py").write_text(FUNCTION)

    def write(self, text: str) -> Path:
        """The sweep file; LOG, KILL and MODULE stand for what is this one's."""
        for name, value in (("LOG", self.log), ("KILL", self.root / "killed"), ("MODULE", self.module)):
            text = text.replace(name, str(value))
        path = self.root / "sweep.yaml"
        path.write_text(text)
        return path

    def lines(self) -> list[str]:
        """Without the process's number."""
        return [line.rpartition(" ")[0] for line in self.log.read_text().splitlines()] if self.log.exists() else []


@pytest.fixture
def no_drawing(monkeypatch):
    """The overview has no figure, which takes longer than all points of a test."""
    monkeypatch.setattr("fgq.sweeps.overview.drawing", lambda *_: "")


@pytest.fixture
def trial(tmp_path) -> Trial:
    return Trial(tmp_path / "trial")
