"""A folder that is damaged again and again, and mended in between: what was not touched is not written again."""

import os
import shutil
from pathlib import Path


class KeptFolder:
    """`mend` brings files, folders and their contents back to what they were when this was made. No links in it."""

    def __init__(self, root: Path):
        self.root = root
        self.folders = {root, *(path for path in root.rglob("*") if path.is_dir())}
        self.contents = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
        self.marks = {path: mark_old(path) for path in self.contents}

    def mend(self) -> None:
        for path in list(entries(self.root)):  # from the top down; what lies in a removed folder is gone with it
            kept = self.folders if path.is_dir() and not path.is_symlink() else self.contents
            if os.path.lexists(path) and path not in kept:
                remove(path)
        for folder in sorted(self.folders):
            folder.mkdir(exist_ok=True)
        for path, content in self.contents.items():
            if not path.is_file() or mark(path) != self.marks[path]:
                remove(path)
                path.write_bytes(content)
                self.marks[path] = mark_old(path)


def mark_old(path: Path) -> tuple:
    """Dates the file back, so that a write within the same tick of the file system's clock changes its mark."""
    os.utime(path, ns=(0, 0))
    return mark(path)


def mark(path: Path) -> tuple:
    """Changes whenever the file is written, replaced or linked."""
    found = os.lstat(path)
    return found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode


def entries(folder: Path):
    for path in sorted(folder.iterdir()):
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from entries(path)


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif os.path.lexists(path):
        path.unlink()
