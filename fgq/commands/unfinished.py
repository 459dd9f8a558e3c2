"""The folder beside a result in which a command keeps what is finished until the result is whole."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fgq.commands.door import Stopped
from fgq.writing import LOCK, check_new_folder, locked, remove_parts


@contextmanager
def unfinished_beside(out: Path) -> Iterator[tuple[Path, Path]]:
    """The new folder `out`, still to be made, and OUT.unfinished for this process alone; raises FgqError.

    What is kept there outlives an interrupt, and Stopped says so; if nothing is, the folder goes.
    """
    out = check_new_folder(out)
    unfinished = out.with_name(f"{out.name}.unfinished")
    try:
        with locked(unfinished, "another fgq quantize"):
            try:
                remove_parts(check_new_folder(out))  # again: the one before may just have made it
                yield out, unfinished
            finally:
                kept = [path for path in unfinished.rglob("*") if path.is_file() and path.name != LOCK]
                if unfinished.exists() and not kept:
                    shutil.rmtree(unfinished)
    except KeyboardInterrupt as error:
        told = f"; what is finished is kept in {unfinished}: the same command goes on from it"
        raise Stopped("stopped" + told * unfinished.exists()) from error
