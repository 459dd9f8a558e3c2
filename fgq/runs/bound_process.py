"""Calls a function in a process that ends, with all that it started, when the process that started it ends, however.

Called by its path and importing nothing of the package, so that a kernel holds only what its chapter imports:
python bound_process.py PARENT NOTE MODULE:FUNCTION [ARGUMENT ...], in a session of its own. NOTE is a file that gets
the number of the process and stays locked as long as it lives.
"""

import fcntl
import importlib
import os
import signal
import sys
import threading
import time

LOOK_SECONDS = 0.2


def end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    os.killpg(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    parent, note, function, *arguments = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a kernel listens to it in its cells, and tells of it elsewhere
    held = open(note, "w")
    fcntl.flock(held, fcntl.LOCK_EX)
    held.truncate(0)
    print(os.getpid(), file=held, flush=True)
    threading.Thread(target=end_with, args=(int(parent),), daemon=True).start()
    os.environ["JPY_PARENT_PID"] = "1"  # ipykernel's own look at its parent would spare what the chapter started
    sys.argv, sys.path = [function, *arguments], sys.path[1:]  # without this file's folder
    module, name = function.split(":")
    getattr(importlib.import_module(module), name)()
