"""Processes that end when the one that started them ends, however it ends; and how what was started is ended.

Called by its path, this file is such a process, which imports nothing else of the package, so that a kernel holds only
what its chapter imports: python processes.py PARENT NOTE MODULE:FUNCTION [ARGUMENT ...], in a session of its own. NOTE
is a file that gets the number of the process and stays locked as long as it lives.
"""

import fcntl
import importlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import get_context, parent_process
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

MOST_WORKERS = 256
LOOK_SECONDS = 0.2  # between two looks at the parent
LAST_SECONDS = 10  # within which a killed process is gone


def end_with(parent: int, end: Callable[[], None]) -> None:
    """In a process that `parent` has started: calls `end` once that is gone."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_SECONDS)
        end()

    # An interrupt is the parent's to answer; a kernel listens to it in its cells, and tells of it elsewhere.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def process_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of fresh processes with an equal share of this one's threads.

    After an error or an interrupt nobody waits for what they were at.
    """
    import torch

    before, share = child_processes(), max(1, torch.get_num_threads() // workers)
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=settle_worker, initargs=(share,))
    try:
        yield pool
    except BaseException:
        end_children(before)
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def settle_worker(threads: int) -> None:
    """In a fresh process. It holds both ends of its queue and would wait for ever for a parent that was killed."""
    end_with(parent_process().pid, lambda: os._exit(1))
    import torch

    torch.set_num_threads(threads)


def bound_command(note: Path, function: str, *arguments: str) -> list[str]:
    """Of a process that calls "module:function" and ends, with all of its session, when this one does."""
    return [sys.executable, "-Xfrozen_modules=off", __file__, str(os.getpid()), str(note), function, *arguments]


def run_bound(parent: str, note: str, function: str, *arguments: str) -> None:
    end_with(int(parent), lambda: os.killpg(os.getpid(), signal.SIGKILL))
    held = open(note, "w")
    fcntl.flock(held, fcntl.LOCK_EX)
    held.truncate(0)
    print(os.getpid(), file=held, flush=True)
    os.environ["JPY_PARENT_PID"] = "1"  # ipykernel's own look at its parent would spare what the chapter started
    sys.argv, sys.path = [function, *arguments], sys.path[1:]  # without this file's folder
    module, name = function.split(":")
    getattr(importlib.import_module(module), name)()


@contextmanager
def on_signals(act: Callable[[int, FrameType | None], None]) -> Iterator[dict[int, Any]]:
    """Inside, SIGINT and SIGTERM call `act`, if they are not ignored and this is the thread that hears of signals.

    What they did before, by number, comes back, and is done again afterwards.
    """
    usual = {}
    if threading.current_thread() is threading.main_thread():
        usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        usual = {number: handler for number, handler in usual.items() if handler not in (signal.SIG_IGN, None)}
    for number in usual:
        signal.signal(number, act)
    try:
        yield usual
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)


def child_processes() -> set[psutil.Process]:
    """Of this process, and theirs. Not multiprocessing's own, which cleans up behind us and ends by itself."""
    found = set()
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if "resource_tracker" not in " ".join(child.cmdline()):
                found.add(child)
    return found


def end_children(before: set[psutil.Process]) -> None:
    """Ends all that were started since `before`."""
    children = child_processes() - before
    end_processes(lambda: children, signal.SIGTERM)


def session_processes(session: int | None) -> set[psutil.Process]:
    """By the number of the session, which is that of its first process."""
    found = set()
    for process in psutil.process_iter() if session else ():
        with suppress(OSError):
            if os.getpgid(process.pid) == session:
                found.add(process)
    return found


def end_processes(find: Callable[[], Collection[psutil.Process]], number: int, grace: float = 2) -> bool:
    """Signals all that `find` finds, again and again, and kills what is left after `grace` seconds.

    With signal 0 they may end by themselves before. Returns whether all have.
    """
    for each, seconds in ((number, grace), (signal.SIGKILL, LAST_SECONDS)):
        until, told = time.monotonic() + seconds, set()
        while alive := {process for process in find() if is_alive(process)}:
            for process in alive - told:
                with suppress(psutil.Error):
                    process.send_signal(each)
            told |= alive
            if time.monotonic() > until:
                break
            time.sleep(0.05)  # whoever started them takes their status, not we
        else:
            return True
    return False


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


if __name__ == "__main__":
    run_bound(*sys.argv[1:])
