"""Forecasts against measured chapters, and by how they must grow; refusals in words."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fgq.data import about
from fgq.errors import FgqError
from fgq.memory.forward import Forecast
from fgq.memory.probe import Speeds
from fgq.runs.dry_run import describe, look_ahead
from fgq.runs.execute import needed_by
from fgq.runs.forecast import MEMORY_FACTOR, Size, aggregator_operations, costs
from fgq.runs.needs import Machine, check_roots
from fgq.runs.runfile import read_run_file
from fgq.runs.work import CHAPTERS
from fgq.vggt import VGGTConfig

RUNS = Path(__file__).parents[2] / "book" / "runs"
MEASURED = json.loads((Path(__file__).parent / "measured_costs.json").read_text(encoding="utf-8"))
SPEEDS = Speeds(**MEASURED["speeds"])
ROOMY = Machine(memory=1e15, gpu=None, disk=1e15)
SMALL = VGGTConfig(
    img_size=32, patch_size=8, embed_dim=32, depth=4, num_heads=2, encoder_depth=1, camera_trunk_depth=1,
    dpt_features=8, dpt_out_channels=(8, 8, 8, 8), dpt_layers=(0, 1, 2, 3),
)  # fmt: skip
CLIP = Size("small", SMALL, torch.float32, 4, 32, 32, True, "cpu")
COUNTS = ("clips", "calibration_clips", "fisher_clips", "ablation_clips", "test_scenes", "epochs", "ablation_epochs")


def no_probe(*_):
    return SPEEDS


def outlook(run, machine=ROOMY, only=None):
    names = {step.chapter.name for step in run.steps} if only is None else needed_by(run, only)
    return look_ahead(run, names, Path("."), machine, no_probe)


@pytest.mark.parametrize("name", MEASURED["chapters"])
def test_a_measured_chapter_lies_in_its_forecast(name):
    run, measured = read_run_file(RUNS / "tiny.yaml"), MEASURED["chapters"][name]
    step = run.step(name)
    run = replace(run, steps=(replace(step, parameters=step.parameters | measured["parameters"], needs=()),))
    found = outlook(run).costs[name]
    assert found.seconds.low <= measured["seconds"] <= found.seconds.high
    assert found.host.low <= measured["peak_memory_bytes"] <= found.host.high


@pytest.mark.parametrize("name", [step.chapter.name for step in read_run_file(RUNS / "tiny.yaml").steps])
def test_more_work_never_costs_less(name):
    parameters = read_run_file(RUNS / "tiny.yaml").step(name).all_parameters

    def of(clip=CLIP, **changes):
        found = costs(CHAPTERS[name](parameters | changes, SMALL.num_blocks), clip, SPEEDS)
        return [found.seconds.low, found.seconds.high, found.host.low, found.host.high, found.disk]

    base = of()
    assert all(value > 0 for value in base)
    for more in (of(replace(CLIP, frames=8)), of(replace(CLIP, height=64, width=64))):
        assert all(a <= b for a, b in zip(base, more, strict=True)) and base[1] < more[1]
    for count in set(COUNTS) & parameters.keys():
        more = of(**{count: 2 * parameters[count]})
        assert all(a <= b for a, b in zip(base, more, strict=True)) and base[1] < more[1], count
    if "seeds" in parameters:
        assert base[1] < of(seeds=[*parameters["seeds"], 9])[1]


def test_the_aggregator_s_operations_are_those_that_torch_counts():
    from torch.utils.flop_counter import FlopCounterMode

    from fgq.memory.forward import CPU_ATTENTION
    from fgq.vggt import VGGT

    model, images = VGGT(SMALL).eval(), torch.rand(1, 4, 3, 32, 32)
    with torch.no_grad():
        tokens, layout = model.aggregator.embed(images), model.aggregator.layout(images)
        with FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION) as counter:
            for name, block in model.aggregator.blocks():
                tokens = block(*layout.arguments(name, tokens)[:2]).reshape(tokens.shape)
    assert aggregator_operations(CLIP) == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_the_default_run_is_foreseen_whole_and_can_start():
    found = outlook(read_run_file(RUNS / "tiny.yaml"))
    assert found.lacks == () and all(found.costs.values())
    lines = "\n".join(describe(found))
    assert "licence of vggt-tiny: Apache-2.0" in lines and "within a factor of" in lines


@pytest.mark.parametrize("name, dataset", [("vggt1b-co3d-w4a4", "co3d"), ("vggt1b-7scenes-w4a4", "seven_scenes")])
def test_the_big_editions_say_what_is_lacking(name, dataset, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("fgq.runs.forecast.walked", lambda size: Forecast(5 * 10**9, 10**9, 10**12, 10**12))
    found = outlook(read_run_file(RUNS / f"{name}.yaml"))
    told = "; ".join(found.lacks)
    assert f"every chapter: the dataset {dataset} needs its folder" in told and "give -p root=FOLDER" in told
    assert told.count("every chapter: device cuda: torch finds no GPU here") == 1
    assert "facebook/VGGT-1B: the weights are not in the hub's cache" in told
    assert "non-commercial" in found.licences["facebook/VGGT-1B"]
    assert found.licences[dataset] == about(dataset).licence
    assert all(found.costs.values())  # VGGT-1B's sizes are known before its weights are here


def test_what_cannot_fit_is_refused_by_chapter_and_kind(tmp_path):
    run = read_run_file(RUNS / "tiny.yaml")
    assert any(
        "vggt" in lack.partition(": at least ")[0].split(", ") and "of memory" in lack
        for lack in outlook(run, Machine(1e6, None, 1e15)).lacks
    )
    assert any("of disk are needed" in lack for lack in outlook(run, Machine(1e15, None, 1e6)).lacks)
    on_gpu = run.with_parameters({"device": "cuda"})
    told = outlook(on_gpu, Machine(1e15, 1e6, 1e15))
    assert any("of GPU memory are needed and 0.0 GB are free" in lack for lack in told.lacks)
    assert told.costs["vggt"].gpu.high == pytest.approx(told.costs["vggt"].gpu.low * MEMORY_FACTOR**2)
    assert outlook(on_gpu, Machine(1e15, 1e15, 1e15)).lacks == ()


def test_a_missing_root_stops_a_run_before_it_starts(tmp_path):
    run = read_run_file(RUNS / "folder.yaml")
    with pytest.raises(FgqError, match="chapter intro: the dataset folder needs its folder, .*: give -p root=FOLDER"):
        check_roots(run)
    with pytest.raises(FgqError, match="root /nowhere: no such folder"):
        check_roots(run.with_parameters({"root": "/nowhere"}))
    check_roots(run.with_parameters({"root": str(tmp_path)}))
    rooms = read_run_file(RUNS / "vggt1b-7scenes-w4a4.yaml").with_parameters({"root": str(tmp_path)})
    with pytest.raises(FgqError, match=r"chapter evaluation: root .*no file ends in .depth.proj.png, and the protocol"):
        check_roots(rooms)
    (tmp_path / "frame-000000.depth.proj.png").touch()
    check_roots(rooms)
    with pytest.raises(FgqError, match="the protocol fgq-co3d is of the dataset co3d, not of seven_scenes"):
        check_roots(rooms.with_parameters({"protocol": "fgq-co3d"}))
    check_roots(read_run_file(RUNS / "tiny.yaml"))


def test_a_dry_run_runs_nothing_and_ends_with_the_reasons(no_kernel, monkeypatch, capsys, tmp_path):
    import sys

    from fgq.commands.cli import main

    monkeypatch.setattr("fgq.runs.dry_run.look_ahead", lambda run, names, out: outlook(run, Machine(1e6, None, 1e15)))
    monkeypatch.setattr(sys, "argv", ["fgq", "run", str(RUNS / "tiny.yaml"), "--dry-run", "--out", str(tmp_path / "o")])
    with pytest.raises(SystemExit) as stopped:
        main()
    told = capsys.readouterr()
    assert stopped.value.code == 2 and "calibration" in told.out
    (line,) = told.err.splitlines()
    assert line.startswith("fgq: tiny cannot run here: ") and not (tmp_path / "o").exists()
