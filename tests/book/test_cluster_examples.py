"""The examples for clusters parse, name options that there are, and the sweeps that come with the book can be read."""

import ast
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from fgq.sweeps.sweep_file import read_sweep

RUNS = Path(__file__).parents[2] / "book" / "runs"
CLUSTER = RUNS / "cluster"
OBJECTS = {"v1": {"Service"}, "apps/v1": {"Deployment"}, "batch/v1": {"Job"}}
# Of dask_jobqueue 0.9's SLURMCluster, as its documentation lists them.
SLURM_CLUSTER = {
    "queue", "account", "cores", "processes", "memory", "walltime", "job_cpu", "job_mem", "job_extra_directives",
    "job_directives_skip", "job_script_prologue", "worker_extra_args", "log_directory", "local_directory", "interface",
    "nanny", "death_timeout", "name", "python", "shebang", "scheduler_options", "n_workers",
}  # fmt: skip


def sweep_options() -> set[str]:
    from fgq.commands.sweeps import sweep

    return {f"--{name.replace('_', '-')}" for name in sweep.__annotations__} - {"--file", "--return"}


def commands_in(text: str) -> list[str]:
    """Options of every `fgq sweep` in a text, whatever quotes and commas stand between."""
    words = re.findall(r"--[a-z][a-z-]*", text)
    return [
        word for word in words if word in {"--out", "--retries", "--share", "--cluster", "--status", "--export-slurm"}
    ]


@pytest.mark.parametrize("path", sorted(CLUSTER.glob("*.sh")), ids=lambda path: path.name)
def test_a_script_is_one_for_bash(path):
    assert subprocess.run(["bash", "-n", str(path)]).returncode == 0
    told = path.read_text(encoding="utf-8")
    assert told.startswith("#!/bin/bash\n") and "set -euo pipefail" in told
    assert set(commands_in(told)) <= sweep_options() and commands_in(told)


def test_the_dask_script_gives_the_cluster_options_that_it_has():
    path = CLUSTER / "slurm_dask.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    (call,) = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "SLURMCluster"]
    assert {keyword.arg for keyword in call.keywords} <= SLURM_CLUSTER
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    assert {"--out", "--retries", "--cluster"} <= set(texts) & sweep_options()


@pytest.mark.parametrize("path", sorted(CLUSTER.glob("*.yaml")), ids=lambda path: path.name)
def test_a_manifest_is_of_objects_whose_parts_fit_together(path):
    objects = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    services = {each["metadata"]["name"] for each in objects if each["kind"] == "Service"}
    for each in objects:
        assert each["kind"] in OBJECTS[each["apiVersion"]]
        assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", each["metadata"]["name"])
        if each["kind"] == "Service":
            labels = [
                other["spec"]["template"]["metadata"]["labels"] for other in objects if other["kind"] == "Deployment"
            ]
            assert each["spec"]["selector"] in labels
            continue
        template = each["spec"]["template"]
        if each["kind"] == "Deployment":
            assert each["spec"]["selector"]["matchLabels"] == template["metadata"]["labels"]
        else:
            assert template["spec"]["restartPolicy"] == "Never"
        check_pod(template["spec"], services)
        if each["spec"].get("completionMode") == "Indexed":
            told = " ".join(template["spec"]["containers"][0]["args"])
            assert f"$JOB_COMPLETION_INDEX/{each['spec']['completions']}" in told


def check_pod(pod: dict, services: set[str]) -> None:
    volumes = {volume["name"] for volume in pod.get("volumes", ())}
    for container in pod["containers"]:
        assert {mount["name"] for mount in container.get("volumeMounts", ())} <= volumes
        words = [*container["command"], *container.get("args", ())]
        assert all(isinstance(word, str) for word in words), "a number in a command has to be quoted"
        assert all(isinstance(variable["value"], str) for variable in container.get("env", ()))
        told = " ".join(words)
        assert set(re.findall(r"tcp://([a-z-]+):", told)) <= services
        if "fgq" in told and "sweep" in told:
            assert set(commands_in(told)) <= sweep_options() and "--out" in commands_in(told)


@pytest.mark.parametrize("path", sorted((RUNS / "sweeps").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_sweep_of_the_book_can_be_read(path):
    sweep = read_sweep(path)
    assert sweep.name == path.stem and sweep.description and len(sweep.points) > 10


def test_the_notes_name_every_file():
    told = (CLUSTER / "README.md").read_text(encoding="utf-8")
    for path in [*CLUSTER.iterdir(), *(RUNS / "sweeps").iterdir()]:
        assert path.name == "README.md" or path.name in told
    named = set(re.findall(r"`(--[a-z-]+)", told))
    assert named <= sweep_options() | {
        "--against",
        "--csv",
        "--markdown",
        "--latex",
        "--figures",
        "--within",
        "--requeue",
        "--lifetime",
    }
