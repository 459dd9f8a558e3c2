"""The kernel that chapters run in: this interpreter and no other; and what it takes of memory."""

import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

KERNEL = "python3"
SAMPLE_SECONDS = 0.1  # between two looks at the kernel's memory


@contextmanager
def this_interpreter(variables: dict[str, str]) -> Iterator[None]:
    """Inside, the kernel "python3" is this interpreter, whatever kernels and startup files the user has.

    Its environment has these `variables` besides those of this process.
    """
    with TemporaryDirectory(prefix="fgq-kernel-") as folder:
        spec = Path(folder, "kernels", KERNEL, "kernel.json")
        spec.parent.mkdir(parents=True)
        command = [sys.executable, "-Xfrozen_modules=off", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        about = {"argv": command, "display_name": "Python 3", "language": "python"}
        environment = {"IPYTHONDIR": str(Path(folder, "ipython"))} | variables
        spec.write_text(json.dumps(about | {"env": environment}), encoding="utf-8")
        before = os.environ.get("JUPYTER_PATH")
        os.environ["JUPYTER_PATH"] = os.pathsep.join([folder, *([before] if before else [])])
        try:
            yield
        finally:
            if before is None:
                del os.environ["JUPYTER_PATH"]
            else:
                os.environ["JUPYTER_PATH"] = before


class PeakMemory:
    """The largest resident memory, in bytes, of this process's children together while the block runs."""

    def __enter__(self):
        self.peak, self.stop = 0, threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()
        return self

    def watch(self) -> None:
        me = psutil.Process()
        while not self.stop.wait(SAMPLE_SECONDS):
            total = 0
            for child in me.children(recursive=True):
                try:
                    total += child.memory_info().rss
                except psutil.Error:  # it ended while we looked
                    continue
            self.peak = max(self.peak, total)

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()
