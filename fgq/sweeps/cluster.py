"""A sweep on a Dask cluster, one task a point."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict

from fgq.errors import FgqError
from fgq.sweeps.execute import LOOK_SECONDS, RENEW_SECONDS, begin_session, check_failures, renew
from fgq.sweeps.folder import SweepFolder
from fgq.sweeps.points import Point
from fgq.sweeps.progress import Progress
from fgq.sweeps.sweep_file import Sweep
from fgq.sweeps.worker import work_there
from fgq.writing import reason

CONNECT_SECONDS = 20


def run_on_cluster(
    sweep: Sweep,
    points: Sequence[Point],
    folder: SweepFolder,
    address: str,
    retries: int = 0,
    report: Callable[[str], None] = print,
) -> None:
    """The workers need fgq and the sweep's folder under the same path, and must be trusted.

    A worker has one point at a time, whatever its number of threads. When one is lost, Dask gives its point to another
    one. Raises FgqError where no scheduler answers, RunFailure for points that failed, in the end.
    """
    with connect(address) as client:
        session = begin_session(sweep, points, folder, retries)
        workers = len(client.scheduler_info(n_workers=-1)["workers"])
        report(f"{address}: {workers} workers")
        progress = Progress(points, folder, report, max(1, workers))
        told = (sweep.kind.spec, str(sweep.path.parent), str(sweep.path), str(folder.root), session, retries)
        missing = [point for point in points if not folder.of(point).is_done()]
        futures = [
            client.submit(work_there, asdict(point), *told, key=f"{point.name}-{session}", pure=False)
            for point in missing
        ]
        renewed = time.monotonic()
        try:
            while not all(future.done() for future in futures):
                time.sleep(LOOK_SECONDS)
                if progress.look() and time.monotonic() - renewed > RENEW_SECONDS:
                    renew(sweep, folder)
                    renewed = time.monotonic()
            progress.look()
            lost = [future for future in futures if future.status == "error"]
            for future in lost:
                report(f"{future.key}: {reason(future.exception())}")
        finally:
            client.cancel(futures, force=True)
            renew(sweep, folder)
    check_failures(points, folder)


def connect(address: str):
    try:
        from distributed import Client

        return Client(address, timeout=CONNECT_SECONDS)
    except ModuleNotFoundError as error:
        raise FgqError("distributed is not installed: pip install -e '.[cluster]' brings it") from error
    except (OSError, ValueError, TimeoutError) as error:
        raise FgqError(
            f"--cluster {address}: no Dask scheduler answers ({reason(error)}): give its address, such as tcp://host:8786"
        ) from error
