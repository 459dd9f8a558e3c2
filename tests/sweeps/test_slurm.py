"""The script for sbatch: bash understands it, its tasks take all points once, and paths may hold anything."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

pytestmark = pytest.mark.usefixtures("no_drawing")
FOUR = """
name: four
call: MODULE:score
base: {log: LOG}
grid: {number: [1, 2, 3, 4]}
"""


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs `fgq` with arguments; returns status, output and error lines."""
    from fgq.commands.cli import main

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["fgq", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        told = capsys.readouterr()
        return stopped.value.code or 0, told.out, told.err.splitlines()

    return call


def submitted(script: Path, task: int | None, cores: str = "2") -> subprocess.CompletedProcess:
    """What a task would call: this interpreter is one that only says with what it was called, and where."""
    slurm = {} if task is None else {"SLURM_ARRAY_TASK_ID": str(task), "SLURM_CPUS_PER_TASK": cores}
    return subprocess.run(["bash", str(script)], env=os.environ | slurm, capture_output=True, text=True)


def test_the_tasks_of_an_array_take_all_points(trial, command, monkeypatch, tmp_path):
    odd = tmp_path / 'it\'s 100% a "folder" $HOME'
    odd.mkdir()
    speaker = odd / "python"
    speaker.write_text('#!/bin/sh\npwd\nprintf "%s\\n" "$@"\n')
    speaker.chmod(0o755)
    monkeypatch.chdir(odd)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", str(speaker))
        file = trial.write(FOUR)
        out = command("sweep", file, "--out", odd / "out", "--retries", 2, "--export-slurm", odd / "job.sh")
    assert out[0] == 0 and "an array job of 4 tasks: sbatch" in out[1] and trial.lines() == []
    text = (odd / "job.sh").read_text()
    assert subprocess.run(["bash", "-n", str(odd / "job.sh")]).returncode == 0
    told = [line.removeprefix("#SBATCH --") for line in text.splitlines() if line.startswith("#SBATCH")]
    options = {name: value for name, _, value in (line.partition("=") for line in told)}
    assert {"job-name", "array", "output", "ntasks", "cpus-per-task", "mem", "time"} <= options.keys()
    assert options["array"] == "0-3" and (odd / "out" / "logs").is_dir()
    # Slurm reads a quoted value as a shell does, and fills in what follows a single %.
    assert shlex.split(options["output"])[0].replace("%%", "%") == str(odd / "out" / "logs" / "slurm-%A_%a.txt")
    assert submitted(odd / "job.sh", None).returncode != 0, "outside an array job it must not run"
    for task in range(4):
        done = submitted(odd / "job.sh", task)
        where, *arguments = done.stdout.splitlines()
        expected = ["-m", "fgq", "sweep", str(file), "--out", str(odd / "out"), "--share", f"{task}/4"]
        assert done.returncode == 0 and where == str(odd)
        assert arguments == [*expected, "--threads", "2", "--retries", "2"]
        if task < 2:
            assert command(*arguments[2:])[0] == 0
    assert trial.lines() == ["1 x", "2 x"]
    table = pd.read_csv(odd / "out" / "results.csv")
    assert list(table.state) == ["done"] * 4 + ["left"] * 2 and list(table.number) == [1, 1, 2, 2, 3, 4]
    status, told, _ = command("sweep", file, "--out", odd / "out", "--status")
    assert status == 0 and "done 2, running 0, failed 0, left 2" in told and trial.lines() == ["1 x", "2 x"]


@pytest.mark.parametrize(
    "arguments, told",
    [
        (("--workers", 2, "--devices", "cuda:0"), "--workers and --devices are two ways to run it"),
        (("--cluster", "tcp://x:1", "--threads", 2), "--threads: a cluster's workers have their own"),
        (("--devices", "gpu"), "--devices gpu: write cuda:0"),
        (("--share", "4/4"), "--share 4/4: write K/N"),
        (("--export-slurm", "/tmp"), "is a folder: give the path of a file"),
    ],
)
def test_what_cannot_be_meant_is_one_line(trial, command, arguments, told):
    status, _, lines = command("sweep", trial.write(FOUR), "--out", trial.out, *arguments)
    assert status == 2 and len(lines) == 1 and told in lines[0] and trial.lines() == []
