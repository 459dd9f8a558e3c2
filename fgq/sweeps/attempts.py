"""Attempts at a point: who works at it, whether that one is still alive, and what became of it.

Of several processes that want one, on whatever machines that share the folder, exactly one gets it: the file of an
attempt is made by the one that comes first, and an attempt is never taken away, but followed by the next number. So one
whose process was killed is recognised and followed: on the same machine by its process, which is gone, and elsewhere by
its file, which a living process touches again and again.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

from fgq.errors import FgqError
from fgq.provenance.record import read_json
from fgq.writing import part_of, write_json

BEAT_SECONDS = 15.0  # between two touches
STALE_SECONDS = 120.0  # without a touch, after which a process elsewhere counts as gone
DIGITS = 4
BOOT = Path("/proc/sys/kernel/random/boot_id")


@cache
def place() -> str:
    """Where numbers of processes mean the same: this machine since it was started, and this container."""
    boot = BOOT.read_text(encoding="utf-8").strip() if BOOT.is_file() else str(psutil.boot_time())
    with suppress(OSError):
        boot += f" {os.stat('/proc/self/ns/pid').st_ino}"
    return f"{socket.gethostname()} {boot}"


@dataclass(frozen=True)
class Attempt:
    path: Path

    @property
    def number(self) -> int:
        return int(self.path.stem)

    @property
    def owner(self) -> dict:
        """Of the process: place, pid, created (its time of birth), session, began; empty in its first moment."""
        return read_json(self.path)

    @property
    def outcome(self) -> Path:
        return self.path.with_suffix(".failed.json")

    @property
    def failure(self) -> dict:
        """What was raised, with the whole traceback; empty unless it has failed."""
        return read_json(self.outcome)

    def is_here(self) -> bool:
        return self.owner.get("place") == place()

    def is_alive(self) -> bool:
        owner = self.owner
        if owner.get("place") != place():
            return age(self.path) < STALE_SECONDS
        with suppress(psutil.Error):
            process = psutil.Process(owner["pid"])
            same = abs(process.create_time() - owner["created"]) < 1
            return same and process.status() != psutil.STATUS_ZOMBIE
        return False

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Inside, others see that this process lives."""
        done = threading.Event()

        def beat() -> None:
            while not done.wait(BEAT_SECONDS):
                with suppress(OSError):  # of a disk that is away for a moment
                    os.utime(self.path)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def fail(self, told: str, traceback: str, seconds: float) -> None:
        write_json(self.outcome, {"error": told, "traceback": traceback, "seconds": seconds}, "the failure")


def age(path: Path) -> float:
    """Seconds since a file was touched, by the clock of the file system, which all share; 0 when it is gone."""
    probe = part_of(path.with_name("clock"))
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
    except OSError as error:
        raise FgqError(
            f"{path.parent}: the age of an attempt cannot be told ({error}): the folder must be writable"
        ) from (error)
    finally:
        with suppress(OSError):
            probe.unlink()


def attempts_in(folder: Path) -> list[Attempt]:
    """From the first to the newest."""
    names = (name for name in list_names(folder) if name.endswith(".json") and name[:-5].isdigit())
    return [Attempt(folder / name) for name in sorted(names, key=lambda name: int(name[:-5]))]


def list_names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def begin_attempt(folder: Path, session: str) -> Attempt | None:
    """The next attempt, this process's own; None while the newest one is under way, and when another one was faster."""
    known = attempts_in(folder)
    if known and not known[-1].outcome.exists() and known[-1].is_alive():
        return None
    number = known[-1].number + 1 if known else 1
    path = folder / f"{number:0{DIGITS}d}.json"
    process = psutil.Process()
    owner = {"place": place(), "pid": process.pid, "created": process.create_time()}
    owner |= {"session": session, "began": time.time()}
    folder.mkdir(parents=True, exist_ok=True)
    if not create(path, owner):
        return None
    return Attempt(path)


def create(path: Path, content: dict) -> bool:
    """Whether it was this process that made the file."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(json.dumps(content) + "\n")
    return True
