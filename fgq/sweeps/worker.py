"""A worker: takes one point after another, until nothing is left that it may take."""

import sys
import threading
import time
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path

from fgq.provenance.record import device, provenance, read_json
from fgq.sweeps.attempts import Attempt
from fgq.sweeps.folder import DONE, FAILED, PointFolder, SweepFolder
from fgq.sweeps.kind import Kind, Outcome
from fgq.sweeps.kinds import find_kind
from fgq.sweeps.points import Point
from fgq.sweeps.watch import Watch, used_gpus
from fgq.writing import reason, write_json, write_text

TAKEN = "taken"  # by another process
AFRESH = 3  # exit status of a worker that has points left and wants to be started anew
WAIT_SECONDS = 2.0
ONE_AT_A_TIME = threading.Lock()  # what is measured and set for a process would be mixed


def main() -> None:
    """In a process of its own, started with the folder and the name of a session."""
    root, session = Path(sys.argv[1]), sys.argv[2]
    plan = read_json(SweepFolder(root).session(session))
    kind = find_kind(plan["kind"], Path(plan["folder"]), plan["file"])
    points = [Point(**point) for point in plan["points"]]
    sys.exit(work(kind, points, SweepFolder(root), session, plan["retries"]))


def work(kind: Kind, points: Sequence[Point], folder: SweepFolder, session: str, retries: int) -> int:
    """Exit status. Points that have not been tried in this session come first.

    A claim of another machine may be that of a process that was killed: it is waited for until either shows.
    """
    first_seen: dict[Path, float] = {}
    while True:
        open_points = [point for point in points if not folder.of(point).is_done()]
        open_points.sort(key=lambda point: folder.of(point).tries(session).total())
        outcome = TAKEN
        for point in open_points:
            if folder.of(point).may_begin(session, retries):
                outcome = run_point(kind, point, folder, session)
            if outcome != TAKEN:
                break
        if outcome == FAILED and used_gpus():
            return AFRESH  # an error on a GPU can spoil all that comes after it in a process
        if outcome == TAKEN:
            if not any(is_undecided(folder.of(point).newest(), first_seen) for point in open_points):
                return 0
            time.sleep(WAIT_SECONDS)


def work_there(point: dict, spec: dict, folder: str, file: str, root: str, session: str, retries: int) -> None:
    """One point, in a worker of a cluster."""
    work(find_kind(spec, Path(folder), file), [Point(**point)], SweepFolder(Path(root)), session, retries)


def is_undecided(attempt: Attempt | None, first_seen: dict[Path, float]) -> bool:
    """Whether an attempt on another machine has neither been touched since it was first seen nor grown stale."""
    if attempt is None or attempt.outcome.exists() or attempt.is_here() or not attempt.is_alive():
        return False
    touched = attempt.path.stat().st_mtime
    return first_seen.setdefault(attempt.path, touched) == touched


def run_point(kind: Kind, point: Point, folder: SweepFolder, session: str) -> str:
    """DONE, FAILED or TAKEN. The error of one that fails is kept with its attempt, and raised to nobody."""
    place = folder.of(point)
    with ONE_AT_A_TIME:
        attempt = place.begin(session)
        if attempt is None:
            return DONE if place.is_done() else TAKEN
        print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {point.name}, attempt {attempt.number}", flush=True)
        watch = Watch()
        with attempt.beating(), warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("default")
            try:
                with watch:
                    outcome = kind.compute(point.parameters, place.root, folder.shared)
                keep(place, point, attempt, outcome, watch, sorted({str(each.message) for each in warned}))
            except Exception as error:
                told = f"{type(error).__name__}: {reason(error)}"
                traceback.print_exc()
                attempt.fail(told, traceback.format_exc(), round(watch.seconds, 2))
                return FAILED
    return DONE


def keep(place: PointFolder, point: Point, attempt: Attempt, outcome: Outcome, watch: Watch, warned: list[str]) -> None:
    """Writes the result, unless this process was taken for dead meanwhile and another one has begun."""
    if place.newest() != attempt:
        raise RuntimeError("another process has begun this point: this one had not been heard of for long")
    imported = [name for name in sys.modules if name.partition(".")[0] == "fgq"]
    result = {"name": point.name, "attempt": attempt.number, "seconds": round(watch.seconds, 2)}
    result |= {"peak_memory_bytes": watch.bytes, "peak_gpu_bytes": watch.gpu_bytes, "warnings": warned}
    result |= provenance(point.parameters, imported, outcome.about.get("device") or device())
    write_text(place.metrics, outcome.metrics.to_csv(index=False, float_format="%.9g"), "the metrics")
    write_json(
        place.root / "result.json",
        result | {"about": {name: value for name, value in outcome.about.items() if name != "device"}},
        "the result",
    )
