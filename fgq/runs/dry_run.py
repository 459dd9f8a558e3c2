"""A run looked at before it starts: what each chapter will take here, whose licences hold, and what is lacking."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import torch

from fgq.data import about
from fgq.memory.probe import Speeds, probe
from fgq.runs.forecast import MEMORY_FACTOR, TIME_FACTOR, Costs, Size, costs, count_work
from fgq.runs.needs import RENDERED, Machine, Weights, find_weights, missing_data, missing_gpu, on_gpu
from fgq.runs.runfile import RunFile, Step
from fgq.vggt.weights import empty_model

GIGABYTE = 1e9
USUAL_SIDE = {RENDERED: 64}  # pixels of a dataset's images where no size is given
PUBLISHED_SIDE = 518
USUAL_FRAMES = 4
BUILT_FROM = (
    "built from counts of what the chapters compute, the model's operations and bytes, and the speed of a block, its "
    "gradient, a calibration step, a convolution, a rounding, a measured scene and a start, timed here just now"
)


@dataclass(frozen=True)
class Outlook:
    costs: dict[str, Costs | None]  # by chapter; None where nothing is known of it
    licences: dict[str, str]  # by model and dataset
    lacks: tuple[str, ...]  # each in words; empty where the run can start


def look_ahead(
    run: RunFile,
    chosen: Collection[str],
    out: Path,
    machine: Machine | None = None,
    measure: Callable[..., Speeds] = probe,
) -> Outlook:
    """Of the `chosen` chapters. Computes nothing but `measure`, once for each kind of clip, and asks no network.

    Raises FgqError for a dataset that does not exist and a size that the model cannot take.
    """
    machine = machine or Machine.here(out)
    steps = [step for step in run.steps if step.chapter.name in chosen]
    weights = {name: find_weights(name) for name in dict.fromkeys(models_of(steps))}
    licences = {name: found.licence for name, found in weights.items()}
    licences |= {name: about(name).licence for name in datasets_of(steps)}
    lacks = [found.lack for found in weights.values() if found.lack]
    speeds: dict[Size, Speeds] = {}
    told: dict[str, Costs | None] = {}
    wanting: dict[str, list[str]] = {}  # what is lacking, and the chapters that want it
    for step in steps:
        name = step.chapter.name
        for lack in (*missing_data(step), *missing_gpu(step, machine)):
            wanting.setdefault(lack, []).append(name)
        told[name] = None
        size = find_size(step, weights, machine)
        work = size and count_work(run, step, size.config)
        if size and work:
            if size not in speeds:
                speeds[size] = measure(
                    empty_model(size.config), size.frames, size.height, size.width, size.dtype, size.device
                )
            told[name] = costs(work, size, speeds[size])
            for lack in does_not_fit(told[name], machine):
                wanting.setdefault(lack, []).append(name)
    lacks += [
        f"{', '.join(names) if len(names) < len(steps) else 'every chapter'}: {lack}" for lack, names in wanting.items()
    ]
    disk = sum(each.disk for each in told.values() if each) + sum(found.download for found in weights.values())
    if disk > machine.disk:
        lacks.append(
            f"{disk / GIGABYTE:.1f} GB of disk are needed and {machine.disk / GIGABYTE:.1f} GB are free: choose --out"
        )
    return Outlook(told, licences, tuple(lacks))


def models_of(steps: list[Step]) -> list[str]:
    return [step.all_parameters["model_name"] for step in steps if "model_name" in step.all_parameters]


def datasets_of(steps: list[Step]) -> list[str]:
    return list(dict.fromkeys(s.all_parameters["dataset"] for s in steps if "dataset" in s.all_parameters))


def find_size(step: Step, weights: dict[str, Weights], machine: Machine) -> Size | None:
    """None where the chapter has no model, or one whose sizes are not known here. Images are taken for squares."""
    told = step.all_parameters
    config = weights[told["model_name"]].config if "model_name" in told else None
    if config is None:
        return None
    dataset = told.get("dataset", RENDERED)
    side = told.get("size") or USUAL_SIDE.get(dataset, PUBLISHED_SIDE)
    side = max(side // config.patch_size, 1) * config.patch_size
    rule = about(dataset).rules.get(told.get("test_split", ""))
    published = rule.amount if rule is not None and rule.kind in ("random", "first") else USUAL_FRAMES
    return Size(
        model=told["model_name"],
        config=config,
        dtype=getattr(torch, told.get("dtype", "float32")),
        frames=told.get("frames") or published,
        height=side,
        width=side,
        rendered=dataset == RENDERED,
        device="cuda" if machine.gpu is not None and on_gpu(step, machine) else "cpu",
    )


def does_not_fit(needed: Costs, machine: Machine) -> list[str]:
    """What is certainly too small for the chapter, also where its need was overestimated."""
    kinds = {"memory": (needed.host, machine.memory), "GPU memory": (needed.gpu, machine.gpu)}
    return [
        f"at least {wanted.low / GIGABYTE:.1f} GB of {kind} are needed and {free / GIGABYTE:.1f} GB are free: "
        "fewer scenes, frames or pixels take less"
        for kind, (wanted, free) in kinds.items()
        if wanted is not None and free is not None and wanted.low > free
    ]


def describe(outlook: Outlook) -> list[str]:
    """Lines for a reader."""
    lines = [f"{'chapter':<14}{'time':>22}{'memory GB':>14}{'GPU GB':>14}{'disk GB':>10}"]
    for name, found in outlook.costs.items():
        if found is None:
            lines.append(f"{name:<14}{'not foreseen':>22}")
            continue
        gpu = "-" if found.gpu is None else gigabytes(found.gpu.low, found.gpu.high)
        host = gigabytes(found.host.low, found.host.high)
        time = f"{in_words(found.seconds.low)} to {in_words(found.seconds.high)}"
        lines.append(f"{name:<14}{time:>22}{host:>14}{gpu:>14}{found.disk / GIGABYTE:>10.2f}")
    known = [found.seconds for found in outlook.costs.values() if found]
    if known:
        low, high = sum(each.low for each in known), sum(each.high for each in known)
        lines.append(f"{'together':<14}{f'{in_words(low)} to {in_words(high)}':>22}")
    lines.append(f"{BUILT_FROM}; right within a factor of {TIME_FACTOR:g} in time and {MEMORY_FACTOR:g} in memory")
    lines += [f"licence of {name}: {licence}" for name, licence in outlook.licences.items()]
    return lines


def gigabytes(low: float, high: float) -> str:
    return f"{low / GIGABYTE:.1f} to {high / GIGABYTE:.1f}"


def in_words(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
