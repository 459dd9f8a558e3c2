"""The one place that writes: files and folders that appear whole or not at all, and one writer at a time."""

import json
import os
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from fgq.errors import FgqError

PART = ".part"  # ends the name of what is not finished; such a file is never read
LOCK = ".lock"
Kinds = type[Exception] | tuple[type[Exception], ...]
NO_SPACE, ELSEWHERE = "free some space or choose another path", "choose another path"


@contextmanager
def whole_file(path: str | Path, what: str = "the file") -> Iterator[Path]:
    """A path to write to, beside `path`, whose name it gets when the block has ended and its bytes are on the disk.

    After an error or a kill, `path` is as it was. Folders on the way are made. The file gets the usual permissions,
    whatever its writer gave it. Raises FgqError where the disk does not take it.
    """
    path = check_name(path)
    part = part_of(path)
    with refusing(path, f"cannot write {what}", NO_SPACE, (OSError, SafetensorError)):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                mode = os.fstat(file.fileno()).st_mode & 0o777
            yield part
            part.chmod(mode)
            settle(part, path)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise


def write_text(path: str | Path, text: str, what: str = "the file") -> None:
    """In UTF-8, as `whole_file`."""
    content = text.encode("utf-8")
    with whole_file(path, what) as part:
        part.write_bytes(content)


def write_json(path: str | Path, content: object, what: str = "the file") -> None:
    """Plain values, one a line; others by their text. As `whole_file`."""
    write_text(path, json.dumps(content, indent=1, default=str) + "\n", what)


@contextmanager
def whole_folder(path: str | Path, what: str = "the folder") -> Iterator[Path]:
    """An empty folder to fill, beside `path`, whose name it gets when the block has ended.

    After an error or a kill there is no `path`. Raises FgqError where `check_new_folder` does, and where the disk does
    not take it.
    """
    path = check_new_folder(path)
    part = part_of(path)
    with refusing(path, f"cannot write {what}", NO_SPACE, (OSError, SafetensorError)):
        try:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            yield part
            os.replace(part, path)  # an empty folder of that name may be there
            settle_folder(path.parent)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise


def check_new_folder(path: str | Path) -> Path:
    """The path of a folder that can be made. Raises FgqError where something stands there or nothing can be written.

    What a command makes goes into a folder of its own, so that no older file is taken for a new one and nothing is
    overwritten; an empty folder will do.
    """
    path = check_name(path)
    with refusing(path, "cannot be used as a folder"):
        empty, taken = path.is_dir() and not any(path.iterdir()), os.path.lexists(path)
    if taken and not empty:
        kind = "is not empty" if path.is_dir() else "is a file"
        raise FgqError(f"{path}: {kind}; choose a new folder, so that no older file is taken for a new one")
    check_writable(path if empty else path.parent)
    return path


def check_file(path: str | Path) -> Path:
    """The path of a file that can be written, or replaced. Raises FgqError for a folder and where nothing can be."""
    path = check_name(path)
    with refusing(path, "cannot be used as a file"):
        folder = path.is_dir()
    if folder:
        raise FgqError(f"{path}: is a folder: give the path of a file")
    check_writable(path.parent)
    return path


def check_name(path: str | Path) -> Path:
    """With ~ resolved. Raises FgqError for a path without a name of its own, such as an empty one, `..` or `/`."""
    try:
        path = Path(path).expanduser()
    except RuntimeError as error:
        raise FgqError(f"{path}: {error}: give the whole path") from error
    if path.name in ("", ".."):
        raise FgqError(f"{str(path)!r}: is no name of a new file or folder: give one, such as out/name")
    with refusing(path, "cannot be used", ELSEWHERE, (OSError, ValueError)):  # too long, a null character
        with suppress(FileNotFoundError, NotADirectoryError):
            path.lstat()
    return path


def check_writable(folder: Path) -> None:
    """Raises FgqError unless a file can be made in the folder, or in the nearest one above that exists."""
    place = folder
    with refusing(folder, "nothing can be written there"):
        while not os.path.lexists(place) and place != place.parent:
            place = place.parent
        probe = place / f".{os.getpid()}-{threading.get_ident()}{PART}"
        probe.touch(exist_ok=False)
        probe.unlink()


@contextmanager
def locked(folder: str | Path, what: str = "another process", patience: float = 0) -> Iterator[Path]:
    """The folder, made where it was missing, for this process alone. Raises FgqError while another one has it, after
    `patience` seconds.

    The system lets go of it when a process ends, however it ends.
    """
    folder = Path(folder).expanduser()
    with refusing(folder, "cannot be used as a folder"):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK)
        try:
            lock.acquire(timeout=patience)
        except Timeout as error:
            raise FgqError(f"{folder}: {what} works in this folder: wait for it, or choose another one") from error
    try:
        for stale in folder.glob(f".*{PART}"):  # of a writer that was killed: nobody else writes here now
            stale.unlink(missing_ok=True)
        yield folder
    finally:
        lock.release()


def remove_parts(path: Path) -> None:
    """What writers of this file or folder left that were killed. Only for whoever knows that nobody writes it now."""
    name = re.compile(re.escape(f".{path.name[:100]}.") + r"\d+-\d+" + re.escape(PART))
    for part in path.parent.iterdir() if path.parent.is_dir() else ():
        if name.fullmatch(part.name):
            shutil.rmtree(part) if part.is_dir() else part.unlink()


def part_of(path: Path) -> Path:
    """Of this thread alone, so that two that were started by mistake do not write into one file."""
    return path.with_name(f".{path.name[:100]}.{os.getpid()}-{threading.get_ident()}{PART}")


def settle(part: Path, path: Path) -> None:
    """Gives a written file its name once its bytes are on the disk."""
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(part, path)
    settle_folder(path.parent)


def settle_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def refusing(what: object, problem: str, remedy: str = ELSEWHERE, kinds: Kinds = OSError) -> Iterator[None]:
    """Inside, an error of these kinds becomes an FgqError that gives its reason."""
    try:
        yield
    except kinds as error:
        raise FgqError(f"{what}: {problem} ({reason(error)}): {remedy}") from error


def reason(error: BaseException) -> str:
    """In one line: the system's own words where it has some."""
    told = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(told).split())[:300]
