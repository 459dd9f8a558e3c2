"""The highest memory that a piece of code reaches, measured as it runs."""

import ctypes
import gc
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import torch

from fgq.errors import FgqError

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # what proc(5) wants to hear to forget VmHWM
SAMPLE_SECONDS = 0.1  # between two looks at other processes


class PeakBytes:
    """A context whose `bytes` and `seconds` say, afterwards, how much memory was in use above what was there before.

    On a GPU these are bytes of torch's allocator, on the CPU resident memory as Linux counts it. Memory that the
    process holds but does not use is given back first, so that it cannot hide what is taken. Raises FgqError on a
    system that does not tell.
    """

    def __init__(self, device: torch.device | str = "cpu"):
        self.device = torch.device(device)
        self.bytes, self.seconds = 0, 0.0

    def __enter__(self) -> "PeakBytes":
        gc.collect()
        synchronize(self.device)
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            self.before = torch.cuda.memory_allocated(self.device)
        else:
            if not (sys.platform == "linux" and CLEAR.exists()):
                raise FgqError("the peak of a process' memory can be measured on Linux only, or on a GPU")
            ctypes.CDLL(None).malloc_trim(0)
            CLEAR.write_text(RESET_PEAK)
            self.before = peak_bytes(self.device)
        self.started = time.perf_counter()
        return self

    def __exit__(self, *_) -> None:
        synchronize(self.device)
        self.bytes = max(0, peak_bytes(self.device) - self.before)
        self.seconds = time.perf_counter() - self.started


def peak_bytes(device: torch.device | str) -> int:
    """The highest memory of this process until now; on a GPU, of torch's tensors there."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if STATUS.exists():  # getrusage would count what the parent held before this process began
        (line,) = [line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:")]
        return 1024 * int(line.split()[1])
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def synchronize(device: torch.device | str) -> None:
    """Waits until a GPU has done what it was told; a CPU always has."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


class PeakOfChildren:
    """A context that says, afterwards, in `bytes` how much resident memory this process's children, and theirs, took
    together at most, as samples show, and in `seconds` how long it was."""

    def __init__(self):
        self.bytes, self.seconds = 0, 0.0
        self.stop = threading.Event()

    def __enter__(self) -> "PeakOfChildren":
        self.started = time.perf_counter()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()
        return self

    def watch(self) -> None:
        while not self.stop.wait(SAMPLE_SECONDS):
            total = 0
            for child in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):  # it may have ended since
                    total += child.memory_info().rss
            self.bytes = max(self.bytes, total)

    def __exit__(self, *_) -> None:
        self.seconds = time.perf_counter() - self.started
        self.stop.set()
        self.thread.join()
