"""A sweep on a Dask cluster: every point once, also when a worker is switched off on the way."""

import warnings

import distributed
import pandas as pd
import pytest

from fgq.errors import FgqError
from fgq.sweeps.cluster import run_on_cluster
from fgq.sweeps.execute import folder_of
from fgq.sweeps.sweep_file import read_sweep

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("no_drawing")]
SIX = """
name: six
call: MODULE:score
base: {log: LOG, kill: KILL}
grid: {number: [1, 2, 3, 4, 5, 6]}
"""


def test_points_on_a_cluster_that_loses_a_worker(trial):
    sweep, told = read_sweep(trial.write(SIX)), []
    folder = folder_of(sweep, trial.out)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = dict(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50)
        with distributed.LocalCluster(**options) as cluster:
            run_on_cluster(sweep, sweep.points, folder, cluster.scheduler_address, report=told.append)
    table = pd.read_csv(folder.table)
    assert (trial.root / "killed").exists() and sorted(trial.lines()) == [f"{number} x" for number in range(1, 7)]
    assert len(table) == 12 and set(table.state) == {"done"} and sorted(table.groupby("point").attempts.max())[-1] == 2
    assert told[0].endswith(": 2 workers") and any("[6/6]" in line for line in told)


def test_an_address_where_nobody_answers_is_one_line(trial, monkeypatch):
    monkeypatch.setattr("fgq.sweeps.cluster.CONNECT_SECONDS", 0.2)
    sweep = read_sweep(trial.write(SIX))
    with pytest.raises(FgqError, match="--cluster tcp://127.0.0.1:9: no Dask scheduler answers"):
        run_on_cluster(sweep, sweep.points, folder_of(sweep, trial.out), "tcp://127.0.0.1:9")
