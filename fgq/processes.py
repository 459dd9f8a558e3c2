"""Processes that share a command's work, and end when it ends, however it ends."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import connection, get_context, parent_process

import psutil

MOST_WORKERS = 256
PATIENCE = 2  # seconds for a child to end by itself


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
    """In a fresh process: its threads, and its end with the parent's, which decides alone what an interrupt does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()
    import torch

    torch.set_num_threads(threads)


def end_with_parent() -> None:
    """A pool's processes hold both ends of their queue and would wait for ever for a parent that was killed."""
    connection.wait([parent_process().sentinel])
    os._exit(1)


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
    for child in children:
        with suppress(psutil.Error):
            child.terminate()
    until = time.monotonic() + PATIENCE
    while any(map(is_alive, children)) and time.monotonic() < until:
        time.sleep(0.02)  # whoever started them takes their status, not we
    for child in filter(is_alive, children):
        with suppress(psutil.Error):
            child.kill()


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
