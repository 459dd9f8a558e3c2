"""A sweep on Slurm through Dask: jobs come and go with the work.

On a login node, in an environment with fgq and `pip install dask-jobqueue`:

    python slurm_dask.py recipes.yaml out/recipes

Each job of Slurm holds one worker, which computes one point at a time. The sweep's folder, the data and the
environment lie on a disk that all nodes see. Stopped and started again, it goes on.
"""

import subprocess
import sys

from dask_jobqueue import SLURMCluster

MOST_JOBS = 8

if __name__ == "__main__":
    file, out = sys.argv[1:]
    cluster = SLURMCluster(
        queue="gpu",  # the partition
        account="PROJECT",
        cores=8,  # of a job
        processes=1,  # one worker a job, since a GPU is for one point
        memory="64GB",
        walltime="12:00:00",
        job_extra_directives=["--gres=gpu:1"],
        job_script_prologue=["export OMP_NUM_THREADS=8"],
        worker_extra_args=["--lifetime", "11h30m", "--lifetime-stagger", "5m"],  # leaves before Slurm ends it
        log_directory=f"{out}/logs",
    )
    cluster.adapt(minimum_jobs=0, maximum_jobs=MOST_JOBS)
    command = [sys.executable, "-m", "fgq", "sweep", file, "--out", out, "--retries", "1"]
    sys.exit(subprocess.call([*command, "--cluster", cluster.scheduler_address]))
