"""What a point costs while it runs."""

import sys
import threading
import time
from contextlib import suppress

import psutil

SAMPLE_SECONDS = 0.1


class Watch:
    """A context whose `seconds` and `bytes` say, afterwards, how long it was and how much memory was in use at most.

    These are bytes of this process and its children, resident, as samples show, its libraries included; `gpu_bytes`
    those that torch had allocated on GPUs at most, 0 where it has touched none.
    """

    def __init__(self):
        self.seconds, self.bytes, self.gpu_bytes = 0.0, 0, 0
        self.stop = threading.Event()

    def __enter__(self) -> "Watch":
        for gpu in used_gpus():
            gpu_stats().reset_peak_memory_stats(gpu)
        self.began = time.perf_counter()
        self.look()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()
        return self

    def watch(self) -> None:
        while not self.stop.wait(SAMPLE_SECONDS):
            self.look()

    def look(self) -> None:
        total = 0
        with suppress(psutil.Error):
            for process in (own := psutil.Process(), *own.children(recursive=True)):
                with suppress(psutil.Error):  # it may have ended since
                    total += process.memory_info().rss
        self.bytes = max(self.bytes, total)

    def __exit__(self, *_) -> None:
        self.stop.set()
        self.thread.join()
        self.look()
        self.seconds = time.perf_counter() - self.began
        self.gpu_bytes = sum(gpu_stats().max_memory_allocated(gpu) for gpu in used_gpus())


def gpu_stats():
    return sys.modules["torch"].cuda


def used_gpus() -> range:
    """Numbers of the GPUs, if this process has begun to use any; without importing torch."""
    torch = sys.modules.get("torch")
    return range(torch.cuda.device_count() if torch and torch.cuda.is_initialized() else 0)
