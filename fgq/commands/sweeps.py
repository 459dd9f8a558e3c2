"""The command `fgq sweep`."""

from pathlib import Path
from typing import Annotated

import typer

from fgq.commands.door import Stopped
from fgq.errors import FgqError
from fgq.processes import MOST_WORKERS


def sweep(
    file: Path,
    out: Annotated[Path | None, typer.Option(help="folder of the sweep; out/sweeps/NAME where not given")] = None,
    workers: Annotated[
        int | None, typer.Option(help="processes of this machine; 1 unless told", min=1, max=MOST_WORKERS)
    ] = None,
    devices: Annotated[
        str | None, typer.Option(help="one worker for each of these, which is all that it sees: cuda:0,cuda:1")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="of a worker; 1 unless told, and with --devices its share of the cores", min=1)
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="a Dask scheduler's, such as tcp://host:8786")
    ] = None,
    retries: Annotated[int, typer.Option(help="how often a point that fails is tried again at once", min=0)] = 0,
    share: Annotated[
        str | None, typer.Option(metavar="K/N", help="only every Nth point from number K on, counted from 0")
    ] = None,
    export_slurm: Annotated[
        Path | None, typer.Option(help="write a script of an array job for sbatch, and run nothing")
    ] = None,
    status: Annotated[
        bool, typer.Option("--status", help="show every point, make table and overview anew, and run nothing")
    ] = False,
) -> None:
    """Run every point of a sweep FILE (YAML); again: only what is not done.

    A point is a calibration with its evaluation, a run file with other parameters, or a function. The folder holds
    results.csv (a row a point and metric) and overview.html. What is done is not repeated, what was killed is begun
    again, what failed keeps its error and stops nothing. Several such commands may share one folder, also on several
    machines: each point is done once.
    """
    given = {"--workers": workers, "--devices": devices, "--cluster": cluster}
    chosen = [name for name, value in given.items() if value is not None]
    if len(chosen) > 1:
        raise FgqError(f"{chosen[0]} and {chosen[1]} are two ways to run it: leave one away")
    if cluster and threads:
        raise FgqError("--threads: a cluster's workers have their own: leave it away")
    from fgq.sweeps.execute import find_slots, folder_of, share_of
    from fgq.sweeps.sweep_file import check_here, read_sweep
    from fgq.writing import check_writable

    plan = read_sweep(file)
    folder, points = folder_of(plan, out), share_of(plan.points, share)
    check_writable(folder.root)
    typer.echo(f"{plan.name}: {len(plan.points)} points{f', {len(points)} of them here' if share else ''}")
    if export_slurm:
        export(plan, folder, export_slurm, retries)
    elif status:
        show_status(plan, points, folder)
    else:
        if not cluster:
            check_here(plan, points, bool(devices))
        slots = find_slots(workers or 1, devices.split(",") if devices else [], threads)
        compute(plan, points, folder, cluster or slots, retries)


def export(plan, folder, script: Path, retries: int) -> None:
    from fgq.sweeps.slurm import write_script
    from fgq.writing import check_file

    tasks = write_script(plan, folder, check_file(script), retries)
    typer.echo(f"an array job of {tasks} tasks: sbatch {script}")


def show_status(plan, points: list, folder) -> None:
    from fgq.sweeps.execute import renew
    from fgq.sweeps.progress import status_table, told_counts

    renew(plan, folder)
    table = status_table(points, folder)
    typer.echo(f"{table.to_string(index=False)}\n{told_counts(table)}; {folder.overview}")


def compute(plan, points: list, folder, where: str | list, retries: int) -> None:
    """On the cluster of this address, or in these slots."""
    from fgq.sweeps.cluster import run_on_cluster
    from fgq.sweeps.execute import run_here
    from fgq.sweeps.progress import status_table, told_counts

    try:
        run = run_on_cluster if isinstance(where, str) else run_here
        run(plan, points, folder, where, retries, typer.echo)
    except KeyboardInterrupt as error:
        raise Stopped(f"stopped; finished points are kept in {folder.root}: the same command goes on") from error
    typer.echo(f"{told_counts(status_table(points, folder))}: {folder.table}, {folder.overview}")
