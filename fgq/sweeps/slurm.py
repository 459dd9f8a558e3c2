"""A sweep as an array job of Slurm, without Dask: each task takes its share of the points."""

import shlex
import sys
from pathlib import Path

from fgq.sweeps.folder import SweepFolder
from fgq.sweeps.sweep_file import Sweep
from fgq.writing import write_text

MOST_TASKS = 1000  # Slurm's usual MaxArraySize is 1001

SCRIPT = """#!/bin/bash
# {name}: {points} points in {tasks} tasks. Made by fgq sweep --export-slurm.
#   sbatch {script}                  all of it; again later: only what is missing
#   sbatch --array=3,7 {script}      some tasks again; %8 behind the numbers runs eight at a time
# Adapt these lines; a line with ## is no option until one # is taken away.
#SBATCH --job-name={job}
#SBATCH --array=0-{last}
#SBATCH --output={log}
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --mem=8G
#SBATCH --time=12:00:00
#SBATCH --requeue
##SBATCH --partition=gpu
##SBATCH --gres=gpu:1
##SBATCH --account=PROJECT

set -euo pipefail
cd {cwd}
{command} \\
  --share "${{SLURM_ARRAY_TASK_ID:?start this script with sbatch}}/{tasks}" \\
  --threads "${{SLURM_CPUS_PER_TASK:-1}}" --retries {retries}
"""


def write_script(sweep: Sweep, folder: SweepFolder, script: Path, retries: int) -> int:
    """Writes the script; returns its number of tasks, one a point where Slurm takes so many.

    It names this interpreter, this working directory and the sweep's folder by their whole paths, so that all of them
    must be where the tasks run, as on a shared disk. Two tasks that meet at one point do it once.
    """
    tasks = min(len(sweep.points), MOST_TASKS)
    command = [sys.executable, "-m", "fgq", "sweep", str(sweep.path), "--out", str(folder.root)]
    log = str(folder.root / "logs").replace("\\", "\\\\").replace("%", "%%").replace('"', '\\"')
    write_text(
        script,
        SCRIPT.format(
            name=sweep.name,
            job=f"fgq-{sweep.name}",
            points=len(sweep.points),
            tasks=tasks,
            last=tasks - 1,
            script=shlex.quote(script.name),
            log=f'"{log}/slurm-%A_%a.txt"',
            cwd=shlex.quote(str(Path.cwd())),
            command=shlex.join(command),
            retries=retries,
        ),
        "the script",
    )
    (folder.root / "logs").mkdir(parents=True, exist_ok=True)  # Slurm makes no folder for its logs
    return tasks
