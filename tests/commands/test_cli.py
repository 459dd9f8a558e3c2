"""The command line: the verbs, and bad input as one line."""

import errno
import json
import re
import signal
import sys
from dataclasses import replace

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

import fgq
from fgq.calibrate import find_recipe
from fgq.writing import locked

SCENES = ("--count", 2, "--frames", 2, "--size", 16)


def test_verbs_give_what_python_gives(command, toy_model, tmp_path):
    model = tmp_path / "toy"
    toy_model.save(model)
    assert command("fisher", model, "--out", tmp_path / "f.safetensors", *SCENES, "--seed", 3)[0] == 0
    scenes = fgq.load_scenes("playroom", split="calibration", count=2, frames=2, size=16, seed=3)
    truth = fgq.estimate_fisher(toy_model, scenes, seed=3, progress=False)
    found = fgq.fisher.FisherTable.load(tmp_path / "f.safetensors")
    torch.testing.assert_close(found.values, truth.values)

    status, _, _ = command(
        "quantize", model, "--out", tmp_path / "small", "--fisher", tmp_path / "f.safetensors", *SCENES,
        "--seed", 3, "--epochs", 1, "--weight-bits", 3,
    )  # fmt: skip
    assert status == 0
    recipe = fgq.load_model(tmp_path / "small").quantization.recipe
    assert (recipe.name, recipe.weight_bits, recipe.activation_bits, recipe.epochs) == ("fgq", 3, 4, 1)

    reports = {}
    for name in ("toy", "small"):
        reports[name] = tmp_path / f"{name}.csv"
        place = tmp_path / name
        status, out, _ = command("evaluate", place, "--out", reports[name], "--reference", model, *SCENES)
        assert status == 0 and "depth_abs_rel" in out
    full, small = (pd.read_csv(reports[name]) for name in ("toy", "small"))
    values = [frame[frame.metric == "depth_abs_rel"].value.mean() for frame in (small, full)]
    status, out, _ = command("compare", reports["small"], reports["toy"])
    (line,) = [line.split() for line in out.splitlines() if " depth_abs_rel " in line]
    assert status == 0 and float(line[5]) == pytest.approx(values[0] - values[1], rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_calibration_that_was_stopped_goes_on_with_the_same_command(
    command, toy_model, tmp_path, monkeypatch, number
):
    from fgq.calibrate.resume import FinishedBlocks

    toy_model.save(tmp_path / "toy")
    call = ("quantize", tmp_path / "toy", *SCENES, "--recipe", "fgq", "--epochs", 1)
    assert command(*call, "--out", tmp_path / "whole")[0] == 0
    keep, unfinished = FinishedBlocks.keep, tmp_path / "small.unfinished"

    def keep_and_stop(self, block, log):
        keep(self, block, log)
        signal.raise_signal(number)

    with monkeypatch.context() as patch:
        patch.setattr(FinishedBlocks, "keep", keep_and_stop)
        status, _, lines = command(*call, "--out", tmp_path / "small")
        kept = f"what is finished is kept in {unfinished}: the same command goes on from it"
        assert (status, lines[-1]) == (128 + number, f"fgq: stopped; {kept}")
    assert [path.name for path in (unfinished / "blocks").glob("*.safetensors")] == ["F0.safetensors"]
    assert len(list((unfinished / "fisher").glob("*.safetensors"))) == 2  # of two scenes
    status, _, complaint = command(*call, "--out", tmp_path / "small", "--weight-bits", 3)
    assert status == 2 and "small.unfinished/blocks: holds the blocks of another calibration" in complaint[-1]
    assert not (tmp_path / "small").exists()
    assert command(*call, "--out", tmp_path / "small")[0] == 0
    whole, small = (tmp_path / name / "model.safetensors" for name in ("whole", "small"))
    assert whole.read_bytes() == small.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small", "toy", "whole"]  # no lock, no part


def test_one_calibration_at_a_time_and_nothing_is_overwritten(command, toy_model, tmp_path):
    toy_model.save(tmp_path / "toy")
    before = {path.name: path.read_bytes() for path in (tmp_path / "toy").iterdir()}
    call = ("quantize", tmp_path / "toy", "--recipe", "rtn", *SCENES, "--out")
    with locked(tmp_path / "small.unfinished"):
        status, _, lines = command(*call, tmp_path / "small")
    assert status == 2 and "small.unfinished: another fgq quantize works in this folder" in lines[-1]
    for out, told in ((tmp_path / "toy", "is not empty"), ("..", "is no name"), ("", "is no name")):
        status, _, lines = command(*call, out)
        assert status == 2 and len(lines) == 1 and told in lines[0]
    status, _, lines = command("random-weights", tmp_path / "toy")
    assert status == 2 and len(lines) == 1 and "is not empty" in lines[0]
    assert {path.name: path.read_bytes() for path in (tmp_path / "toy").iterdir()} == before
    (tmp_path / ".small.1-2.part").mkdir()  # of one that was killed while it saved
    (tmp_path / ".small.b.1-2.part").touch()  # of another result
    assert command(*call, tmp_path / "small")[0] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [".small.b.1-2.part", "small", "toy"]


def test_what_is_not_given_is_the_recipe_s_own(command, toy_model, tmp_path, monkeypatch):
    toy_model.save(tmp_path / "toy")
    own = find_recipe("rtn", overrides=dict(weight_bits=5, task_weights=(1.0, 0.0, 0.0), epochs=2))
    monkeypatch.setitem(fgq.calibrate.RECIPES, "rtn", own)
    call = ("quantize", tmp_path / "toy", "--recipe", "rtn", *SCENES)
    for out, options, expected in (("a", (), own), ("b", ("--set", "weight_bits=3"), replace(own, weight_bits=3))):
        assert command(*call, "--out", tmp_path / out, *options)[0] == 0
        assert fgq.load_model(tmp_path / out).quantization.recipe == expected


def test_an_evaluation_says_where_and_how_it_was_made(command, toy_model, tmp_path):
    toy_model.save(tmp_path / "toy")
    call = ("evaluate", tmp_path / "toy", *SCENES, "--device", "cpu", "--dtype", "bfloat16", "--out")
    for clouds, looked_up in (("fast", "1000"), ("full", "all")):
        assert command(*call, tmp_path / f"{clouds}.csv", "--clouds", clouds)[0] == 0
        report = fgq.evaluation.Report.load(tmp_path / f"{clouds}.csv")
        assert set(report.frame.device) == {"cpu"} and set(report.frame.clouds) == {looked_up}
        assert ("points_nc_mean" in set(report.frame.metric)) == (clouds == "full")
    status, _, lines = command("compare", tmp_path / "fast.csv", tmp_path / "full.csv")
    assert status == 2 and len(lines) == 1 and "looked up 1000 and all points of a cloud" in lines[0]


def test_a_quantized_reference_is_refused(command, toy_model, tmp_path):
    fgq.quantize(toy_model, recipe="rtn", progress=False).save(tmp_path / "small")
    status, _, lines = command("evaluate", tmp_path / "small", *SCENES, "--reference", tmp_path / "small")
    assert status == 2 and len(lines) == 1 and "is quantized itself" in lines[0]


def test_a_difference_that_cannot_be_had_is_said(command, toy_model, tmp_path):
    report = fgq.evaluate(toy_model, fgq.load_scenes("playroom", count=2, frames=2, size=16), progress=False)
    report.save(tmp_path / "whole.csv")
    report.frame.loc[report.frame.metric == "depth_abs_rel", "value"] = float("nan")
    report.save(tmp_path / "gap.csv")
    status, _, lines = command("compare", tmp_path / "gap.csv", tmp_path / "whole.csv")
    (line,) = [line for line in lines if line.startswith("fgq: no difference in ")]
    assert status == 0 and "depth_abs_rel" in line


def test_without_a_table_the_recipe_s_own_estimator_is_used(command, toy_model, tmp_path):
    toy_model.save(tmp_path / "toy")
    call = ("quantize", tmp_path / "toy", *SCENES, "--epochs", 1)
    for name, estimator in (("fgq+", None), ("fgq", "sum_of_outputs")):
        assert command(*call, "--recipe", name, "--out", tmp_path / name)[0] == 0
        assert fgq.load_model(tmp_path / name).quantization.recipe.estimator == estimator


def test_workers_share_the_blocks(command, toy_model, tmp_path):
    toy_model.save(tmp_path / "toy")
    for workers in (1, 2):
        out = tmp_path / f"by-{workers}"
        call = ("quantize", tmp_path / "toy", *SCENES, "--recipe", "flatquant", "--epochs", 1, "--out", out)
        assert command(*call, "--workers", workers)[0] == 0
    first, second = (tmp_path / f"by-{workers}" / "model.safetensors" for workers in (1, 2))
    assert first.read_bytes() == second.read_bytes()  # one thread in both


def test_info_counts_every_parameter(command, toy_model, tmp_path):
    toy_model.save(tmp_path / "toy")
    status, out, _ = command("info", tmp_path / "toy")
    (total,) = [line.split()[1] for line in out.splitlines() if line.startswith("all ")]
    assert status == 0 and int(total) == sum(parameter.numel() for parameter in toy_model.parameters())


def test_info_tells_memory_and_time_as_measured(command, toy_model, tmp_path):
    toy_model.save(tmp_path / "toy")
    status, out, _ = command("info", tmp_path / "toy", "--frames", 2, "--size", "24x16", "--measure")
    rows = {
        line.split()[0]: line.split()[1:] for line in out.splitlines() if line.startswith(("predicted", "measured"))
    }
    assert status == 0 and "2 frames of 24 × 16 pixels on cpu" in out and "fgq w4a4" in out
    assert len(rows["predicted"]) == 4 and len(rows["measured"]) == 6  # what cannot be predicted is left empty
    assert float(rows["measured"][2]) > 0.1  # gigabytes of an interpreter with torch
    most = re.search(r"At most (\d+) frames of 24 × 16 pixels fit into the [\d.]+ GB that are free on cpu: ", out)
    assert int(most[1]) > 2


def test_info_tells_the_bits_of_a_quantized_model(command, toy_model, tmp_path):
    toy_model.save(tmp_path / "toy")
    assert "Bits in the blocks" not in command("info", tmp_path / "toy")[1]
    fields = ("--set", "special_activation_bits=8", "--set", 'site_activation_bits={"fc2_in": 6}')
    assert command("quantize", tmp_path / "toy", "--recipe", "rtn", "--out", tmp_path / "small", *fields)[0] == 0
    status, out, _ = command("info", tmp_path / "small", "--frames", 2, "--size", "24x16")
    assert status == 0 and "rtn + S8 + fc2_in A6, W4A4S8, for 2 frames of 24 × 16 pixels:" in out
    rows = [line.split() for line in out.split("Bits in")[1].splitlines()]
    rows = {
        row[0]: list(map(float, row[1:])) for row in rows if row and row[0] in ("camera", "register", "patch", "all")
    }
    assert rows["camera"][2] == rows["register"][2] == 8 and rows["patch"][1] == 4
    assert rows["patch"][2] == pytest.approx(4 + 2 * 4 / 12, abs=1e-3)  # fc2 does a third of the work
    assert rows["all"][3] == pytest.approx(rows["all"][0] * rows["all"][4], rel=1e-3)


def test_bench_writes_its_table_and_its_figure(command, toy_model, tmp_path):
    toy_model.save(tmp_path / "toy")
    files = ("--csv", tmp_path / "table.csv", "--figure", tmp_path / "figure.svg")
    status, out, _ = command("bench", tmp_path / "toy", "--size", "24x16", "--repeats", 1, *files)
    (row,) = pd.read_csv(tmp_path / "table.csv").to_dict("records")
    assert status == 0 and (row["width"], row["height"], row["frames"], row["ratio"]) == (24, 16, 1, 1)
    assert row["form"] in out and (tmp_path / "figure.svg").read_text().startswith("<?xml")
    status, _, errors = command("bench", tmp_path / "toy", "--form", "integer")
    assert status == 2 and "has a form among integer" in errors[-1]


def test_a_bit_budget_is_dealt_by_a_fisher_estimated_on_the_way(command, toy_model, tmp_path):
    toy_model.save(tmp_path / "toy")
    clips = ("--count", 2, "--frames", 2, "--size", 16)
    options = ("--recipe", "rtn", "--bit-budget", 3.5, "--task-weights", 1, 0, 2, *clips)
    assert command("quantize", tmp_path / "toy", "--out", tmp_path / "small", *options)[0] == 0
    scenes = fgq.load_scenes("playroom", split="calibration", count=2, frames=2, size=16)
    fisher = fgq.estimate_fisher(toy_model, scenes, progress=False)
    same = fgq.quantize(toy_model, scenes, "rtn", fisher=fisher, bit_budget=3.5, task_weights=(1.0, 0.0, 2.0))
    dealt = fgq.load_model(tmp_path / "small").quantization.recipe.block_weight_bits
    assert dealt == same.quantization.recipe.block_weight_bits and len({b for block in dealt for b in block}) > 1


def test_any_field_of_a_recipe_can_be_set(command, toy_model, tmp_path):
    toy_model.save(tmp_path / "toy")
    fields = ("weight_group=8", "activation_group=4", "encoder=nearest", "camera_head=nearest", "num_scenes=2")
    fields += ("weight_symmetric=false", "layer_weight_bits=[4,4,8,3]", "smooth_alpha=5e-1")
    options = [word for field in fields for word in ("--set", field)]
    given = ("--recipe", "quantvggt", "--count", 3, "--frames", 2, "--size", 16, *options)
    assert command("quantize", tmp_path / "toy", "--out", tmp_path / "small", *given)[0] == 0
    found = fgq.load_model(tmp_path / "small").quantization
    changes = dict(weight_group=8, activation_group=4, num_scenes=2, weight_symmetric=False, smooth_alpha=0.5)
    changes |= dict(encoder="nearest", camera_head="nearest", layer_weight_bits=(4, 4, 8, 3))
    assert found.recipe == find_recipe("quantvggt", overrides=changes)
    assert [part.name for part in found.parts] == ["encoder", "camera_head"]


def test_random_weights_of_any_shapes_can_be_looked_at(command, toy_model, tmp_path):
    shapes = {name: list(tensor.shape) for name, tensor in toy_model.state_dict().items()}
    (tmp_path / "shapes.json").write_text(json.dumps(shapes))
    status, out, _ = command("random-weights", tmp_path / "noise", "--shapes", tmp_path / "shapes.json")
    assert status == 0 and f"{len(shapes)} tensors" in out
    assert command("info", tmp_path / "noise")[0] == 0


def test_runs_compare_by_the_reports_they_hold(tmp_path, toy_model, command):
    scenes = fgq.load_scenes("playroom", count=3, frames=2, size=16)
    report = fgq.evaluate(toy_model, scenes, progress=False)
    for run in ("a", "b"):
        report.save(tmp_path / run / "artefacts" / "live.csv")
    (tmp_path / "a" / "artefacts" / "other.csv").write_text("x,y\n1,2\n")
    status, out, _ = command("compare", tmp_path / "a", tmp_path / "b")
    assert status == 0 and "live.csv" in out and "other.csv" not in out
    status, _, lines = command("compare", tmp_path / "a", tmp_path)
    assert status == 2 and len(lines) == 1 and "no reports of one name" in lines[0]


def test_a_comparison_is_told_in_words(tmp_path, toy_model, command):
    scenes = fgq.load_scenes("playroom", count=4, frames=2, size=16)
    report = fgq.evaluate(toy_model, scenes, progress=False)
    report.save(tmp_path / "one.csv")
    report.frame.loc[report.frame.metric == "point_error", "value"] *= 2
    report.save(tmp_path / "other.csv")
    status, out, _ = command("compare", tmp_path / "one.csv", tmp_path / "other.csv", "--within", 5)
    words = [line for line in out.splitlines() if " (of one seed) " in line]
    # The toy model's cameras are never right: an accuracy of zero has no ratio, and is left out.
    assert status == 0 and [line.split(":")[0] for line in words] == ["depth_abs_rel", "point_error"]
    assert words[0].startswith("depth_abs_rel: equivalent within 5 %")
    assert words[1].startswith("point_error: better (of one seed) (-50.0 %")


@pytest.mark.parametrize(
    "arguments, told",
    [
        (("info", "nowhere/model"), "nowhere/model"),
        (("quantize", "nowhere", "--out", "x", "--recipe", "magic"), "recipe 'magic' is unknown"),
        (("quantize", "nowhere", "--out", "x", "--weight-bits", "9"), "9"),
        (("quantize", "nowhere", "--out", "x", "--set", "clips"), "--set clips: write FIELD=VALUE"),
        (("quantize", "nowhere", "--out", "x", "--set", "colour=red"), "a recipe has no field colour"),
        (("quantize", "nowhere", "--out", "x", "--set", "weight_group=big"), "weight_group must be of type"),
        (("info", "vggt-tiny", "--size", "64by64"), "give at least one frame and WIDTHxHEIGHT"),
        (("info", "vggt-tiny", "--size", "65"), "multiples of the patch size 8"),
        (("info", "vggt-tiny", "--dtype", "int4"), "dtype 'int4' is no type of weights"),
        (("info", "someone/model", "--local-files-only", "--cache-dir", "nowhere"), "the hub did not give it"),
        (("random-weights", "out", "--shapes", "none.json"), "none.json: not a JSON object"),
        (("compare", "none.csv", "none.csv"), "none.csv: no such report"),
        (("run", "x.yaml", "--only", "a", "--build"), "--build is about several chapters: leave --only away"),
        (("quantize", "nowhere", "--out", "x", "--set", "weight_bits=9"), "9 bits: choose 2 to 8"),
        (("quantize", "nowhere", "--out", "x", "--weight-bits", 3, "--set", "weight_bits=3"), "are the same field"),
        (("quantize", "nowhere", "--out", "x", "--epochs", 3, "--set", "epochs=4"), "are the same field"),
        (("quantize", "nowhere", "--out", "x", "--set", "clips=3", "--set", "clips=4"), "is given twice"),
        (("quantize", "nowhere", "--out", "x", "--recipe", "rtn", "--fisher", "nope"), "uses no Fisher"),
        (("quantize", "nowhere", "--out", "x", "--recipe", "rtn", "--epochs", 2), "learns nothing"),
        (("quantize", "nowhere", "--out", "x", "--fisher", "nope"), "nope: no such Fisher table"),
        (("evaluate", "vggt-tiny", "--device", "meta"), "device meta cannot be used"),
        (("evaluate", "vggt-tiny", "--dtype", "float8_e4m3fn"), "choose float32, bfloat16 or float16"),
        (("evaluate", "vggt-tiny", "--clouds", "slow"), "--clouds slow: choose fast or full"),
        (("evaluate", "vggt-tiny", "--count", 10**11), "--count"),
        (("info", "vggt-tiny", "--frames", 10**9), "--frames"),
        (("info", "vggt-tiny", "--size", "9" * 5000), "at most 16384 a side"),
        (("render", "x", "--seed", -1), "--seed"),
        (("render", "x", "--size", -8), "--size"),
        (("render", "x", "--frames", 10**7), "--frames"),
        (("render", "x"), "cannot write the pictures (No space left on device)"),
        (("nosuch",), "No such command 'nosuch'"),
    ],
)
def test_bad_input_is_one_line_and_status_2(command, arguments, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fgq.export.pictures.write_tensor", full_disk)
    status, _, lines = command(*arguments)
    assert status == 2
    assert len(lines) == 1 and lines[0].startswith("fgq: ") and told in lines[0]


def full_disk(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_path_that_is_no_utf8_can_be_told(command, tmp_path):
    status, out, _ = command("render", tmp_path / "\udce9", "--frames", 1, "--size", 16)
    assert status == 0 and out.endswith("\\udce9\n") and (tmp_path / "\udce9").is_dir()
    status, _, lines = command("render", tmp_path / "\udce9")
    assert status == 2 and "\\udce9: is not empty" in lines[0]


@pytest.mark.parametrize("out", ["", ".", "/", "..", "file", "file/below", "n" * 300, "~nosuchuser/x", "/proc/x"])
def test_where_nothing_can_be_written_is_said_before_any_work(command, out, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    folders = [("render", out), ("random-weights", out), ("predict", "nowhere", "--out", out)]
    folders += [("quantize", "nowhere", "--out", out)]
    files = [("fisher", "nowhere", "--out", out), ("evaluate", "nowhere", "--out", out)] if out != "file" else []
    for arguments in folders + files:  # a model "nowhere" would be complained about as soon as it is looked for
        status, _, lines = command(*arguments)
        assert status == 2 and len(lines) == 1 and "nowhere" not in lines[0], lines
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


BROKEN = {
    "truncated": lambda folder, file: file.write_bytes(file.read_bytes()[:-10]),
    "empty": lambda folder, file: file.write_bytes(b""),
    "html": lambda folder, file: file.write_text("<!DOCTYPE html><html>"),
    "mis-shaped": lambda folder, file: edit(file, lambda state: state.update({"depth_head.norm.bias": torch.ones(1)})),
    "renamed": lambda folder, file: edit(file, lambda state: state.update(extra=state.pop("depth_head.norm.bias"))),
    "shard": lambda folder, file: (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "b"}}'),
    "config": lambda folder, file: (folder / "config.json").write_text("{"),
}


def edit(file, change) -> None:
    state = load_file(file)
    change(state)
    save_file(state, file)


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_weights_are_one_line_and_status_2(command, toy_model, tmp_path, kind):
    toy_model.save(tmp_path)
    BROKEN[kind](tmp_path, tmp_path / "model.safetensors")
    for verb in (("info", tmp_path), ("evaluate", tmp_path, *SCENES)):
        status, _, lines = command(*verb)
        assert status == 2 and len(lines) == 1 and lines[0].startswith(f"fgq: {tmp_path}"), lines


def test_a_split_that_a_dataset_lacks_is_named(command, toy_model, tmp_path):
    toy_model.save(tmp_path / "toy")
    status, _, lines = command("evaluate", tmp_path / "toy", "--dataset", "folder", "--root", tmp_path, "--split", "no")
    assert status == 2 and len(lines) == 1 and "folder has no split 'no'" in lines[0]


def test_photos_are_cut_into_clips_that_calibrate_a_model(command, toy_model, tmp_path):
    toy_model.save(tmp_path / "toy")
    assert command("render", tmp_path / "photos", "--frames", 10, "--size", 16)[0] == 0
    call = ("quantize", tmp_path / "toy", "--out", tmp_path / "small", "--recipe", "fgq", "--epochs", 1)
    assert command(*call, "--dataset", "folder", "--root", tmp_path / "photos", "--frames", 2)[0] == 0
    steps = {block.steps for block in fgq.load_model(tmp_path / "small").quantization.blocks}
    assert steps == {2}  # of two clips each: the five pictures of the first half make four clips of two neighbours


def test_a_missing_extra_is_named(command, monkeypatch):
    monkeypatch.setitem(sys.modules, "jupytext", None)
    for module in ("fgq.runs.runfile", "fgq.runs.chapters"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    status, _, lines = command("run", "any.yaml")
    assert status == 2
    assert lines == ["fgq: jupytext is not installed: pip install -e '.[book]' brings what runs and books need"]


def test_a_rendered_room_becomes_cameras_and_points(command, tmp_path):
    assert command("render", tmp_path / "room", "--frames", 3, "--seed", 1)[0] == 0
    status, out, _ = command(
        "predict", tmp_path / "room", "--model", "vggt-tiny", "--out", tmp_path / "seen", "--keep", 0.2
    )
    assert status == 0 and "3 cameras and depth maps of 64 × 64 pixels" in out
    assert (tmp_path / "seen" / "viewer.html").resolve().as_uri() in out
    assert b"element vertex 2458\n" in (tmp_path / "seen" / "points.ply").read_bytes()  # a fifth of 3 × 64 × 64
    status, _, lines = command("predict", tmp_path / "room", "--model", "vggt-tiny", "--out", tmp_path / "seen")
    assert status == 2 and len(lines) == 1 and "is not empty" in lines[0]


def test_bad_pictures_are_named_in_one_line(command, tmp_path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "page.png").write_text("hello")
    status, _, lines = command("predict", tmp_path, "--model", "vggt-tiny", "--out", tmp_path / "seen")
    assert status == 2 and len(lines) == 1 and "empty.jpg (empty); page.png (no image)" in lines[0]
