"""Runs a sweep with processes of this machine, or on a Dask cluster; what is done is never done again."""

import os
import secrets
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from fgq.errors import FgqError, RunFailure
from fgq.processes import bound_command, end_processes, session_processes
from fgq.sweeps.attempts import attempts_in
from fgq.sweeps.folder import FAILED, SweepFolder
from fgq.sweeps.overview import write_overview
from fgq.sweeps.points import Point
from fgq.sweeps.progress import Progress
from fgq.sweeps.sweep_file import Sweep
from fgq.sweeps.table import write_table
from fgq.sweeps.worker import AFRESH
from fgq.writing import locked, write_json

WORKER = "fgq.sweeps.worker:main"
LOOK_SECONDS = 0.3
REST_TIMES = 20  # as long as a look took, nobody looks again: the disk may be slow
RENEW_SECONDS = 60.0  # between two makings of the table while points run
MOST_FALSE_STARTS = 3
PATIENCE_SECONDS = 60.0  # for another process that writes the table
GPU_VARIABLE = "CUDA_VISIBLE_DEVICES"
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass
class Slot:
    """A place for one worker at a time, and the variables of its environment."""

    variables: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen | None = None
    has_begun: bool = False  # its worker has made an attempt
    has_finished: bool = False  # its last worker found nothing more to do


def find_slots(workers: int, devices: Sequence[str], threads: int | None) -> list[Slot]:
    """One a device, which is all that its worker sees, or else `workers`; with one thread each unless told.

    A worker of a GPU has its share of the cores. Raises FgqError for what is no device.
    """
    share = threads or (max(1, (os.cpu_count() or 1) // len(devices)) if devices else 1)
    common = dict.fromkeys(THREADS, str(share))
    if not devices:
        return [Slot(common) for _ in range(workers)]
    return [Slot(common | {GPU_VARIABLE: visible(device)}) for device in devices]


def visible(device: str) -> str:
    """What a process has to be told so that it sees this device alone, among those that this process may see."""
    kind, _, number = device.partition(":")
    if kind == "cpu" and not number:
        return ""
    if kind != "cuda" or not (number or "0").isdigit():
        raise FgqError(f"--devices {device}: write cuda:0, cuda:1 and so on, or cpu")
    allowed, index = os.environ.get(GPU_VARIABLE), int(number or 0)
    if allowed is None:
        return str(index)
    names = [name.strip() for name in allowed.split(",") if name.strip()]
    if index >= len(names):
        raise FgqError(f"--devices {device}: {GPU_VARIABLE} is {allowed!r}, {len(names)} of them: choose among those")
    return names[index]


def begin_session(sweep: Sweep, points: Sequence[Point], folder: SweepFolder, retries: int) -> str:
    """Writes down what is to be done, for the workers and for later; returns the session's name."""
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(4)}"
    plan = {"file": str(sweep.path), "folder": str(sweep.path.parent), "kind": sweep.kind.spec, "retries": retries}
    write_json(folder.session(name), plan | {"points": [asdict(point) for point in points]}, "the plan of a sweep")
    return name


def run_here(
    sweep: Sweep,
    points: Sequence[Point],
    folder: SweepFolder,
    slots: Sequence[Slot],
    retries: int = 0,
    report: Callable[[str], None] = print,
) -> None:
    """Workers that end are started again while there is something for them to do.

    Raises RunFailure for points that failed, in the end, and for workers that cannot start.
    """
    session, renewed, false_starts = begin_session(sweep, points, folder, retries), time.monotonic(), 0
    progress = Progress(points, folder, report, len(slots))
    try:
        while True:
            began = time.monotonic()
            start_workers(points, folder, slots, session, retries)
            if progress.look() and time.monotonic() - renewed > RENEW_SECONDS:
                renew(sweep, folder)
                renewed = time.monotonic()
            if all(slot.process is None for slot in slots):
                break
            time.sleep(max(LOOK_SECONDS, REST_TIMES * (time.monotonic() - began)))
            mark_begun(slots, points, folder, session)
            false_starts += sum([take_leave(slot) for slot in slots])
            if false_starts >= MOST_FALSE_STARTS:
                raise RunFailure(f"workers end before they begin: see {folder.root / 'logs'}")
        progress.look()
    finally:
        running = [slot.process for slot in slots if slot.process is not None]
        end_processes(lambda: set().union(*(session_processes(process.pid) for process in running)), 15)
        for process in running:
            process.wait()
        for note in notes_in(folder).glob(f"{session}-*"):
            note.unlink()
        renew(sweep, folder)
    check_failures(points, folder)


def start_workers(
    points: Sequence[Point], folder: SweepFolder, slots: Sequence[Slot], session: str, retries: int
) -> None:
    """As many as there are points to take: those that nobody works at, at first also those of another machine's claim,
    which may be that of a killed process."""
    free, claimed = 0, 0
    mark_begun(slots, points, folder, session)
    for point in points:
        place = folder.of(point)
        if not place.is_done() and place.may_begin(session, retries):
            newest = place.newest()
            alive = newest is not None and not newest.outcome.exists() and newest.is_alive()
            free, claimed = free + (not alive), claimed + (alive and not newest.is_here())
    for number, slot in enumerate(slots, start=1):
        idle = sum(each.process is not None and not each.has_begun for each in slots)
        if slot.process is None and idle < (free if slot.has_finished else free + claimed):
            start(slot, number, folder, session)


def mark_begun(slots: Sequence[Slot], points: Sequence[Point], folder: SweepFolder, session: str) -> None:
    fresh = [slot for slot in slots if slot.process is not None and not slot.has_begun]
    if fresh:
        attempts = (attempt for point in points for attempt in attempts_in(folder.of(point).attempts))
        pids = {owner["pid"] for owner in (each.owner for each in attempts) if owner.get("session") == session}
        for slot in fresh:
            slot.has_begun = slot.process.pid in pids


def start(slot: Slot, number: int, folder: SweepFolder, session: str) -> None:
    notes, logs = notes_in(folder), folder.root / "logs"
    notes.mkdir(parents=True, exist_ok=True)
    logs.mkdir(exist_ok=True)
    command = bound_command(notes / f"{session}-{number}", WORKER, str(folder.root), session)
    slot.has_begun = False
    with (logs / f"{session}-worker-{number}.txt").open("ab") as log:
        slot.process = subprocess.Popen(
            command,
            env=os.environ | slot.variables,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def notes_in(folder: SweepFolder) -> Path:
    """Where a worker's process is noted while it lives; see `fgq.processes`."""
    return folder.root / ".workers"


def take_leave(slot: Slot) -> bool:
    """Frees the slot of a worker that has ended; whether that one had ended before it began anything."""
    status = None if slot.process is None else slot.process.poll()
    if status is None:
        return False
    slot.has_finished, slot.process = status == 0, None
    return status not in (0, AFRESH) and not slot.has_begun


def renew(sweep: Sweep, folder: SweepFolder) -> None:
    """Makes the table and the overview of all that is there."""
    with locked(folder.root, "another sweep", PATIENCE_SECONDS):
        table = write_table(sweep, folder)
        write_overview(sweep, folder, table)


def check_failures(points: Sequence[Point], folder: SweepFolder) -> None:
    states = folder.states(points)
    failed = [point for point in points if states[point.name] == FAILED]
    lost = [point for point in points if states[point.name] == "left"]
    if failed:
        newest = folder.of(failed[0]).newest()
        raise RunFailure(
            f"{len(failed)} of {len(points)} points failed, such as {failed[0].name}: {newest.failure.get('error')} "
            f"(all of it: {newest.outcome}); the same command tries them again"
        )
    if lost:
        raise RunFailure(
            f"{len(lost)} of {len(points)} points have ended their process whenever they were tried, such as "
            f"{lost[0].name}: out of memory perhaps; the same command tries them again"
        )


def share_of(points: Sequence[Point], share: str | None) -> list[Point]:
    """Of K/N: every Nth point from number K on, counted from 0. Raises FgqError for what is no share."""
    if share is None:
        return list(points)
    first, sign, step = share.partition("/")
    if not (sign and first.isdecimal() and step.isdecimal() and int(first) < int(step)):
        raise FgqError(f"--share {share}: write K/N with K from 0 to N - 1, such as 0/4")
    return list(points[int(first) :: int(step)])


def folder_of(sweep: Sweep, out: Path | None) -> SweepFolder:
    return SweepFolder((out or Path("out") / "sweeps" / sweep.name).expanduser().absolute())
