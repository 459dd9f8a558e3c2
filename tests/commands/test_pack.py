"""Packed models and deltas from the command line."""

import pytest

import fgq
from fgq.quant import pack_layers
from fgq.vggt.weights import fingerprint


@pytest.fixture
def folders(toy_model, tmp_path):
    """A full-precision model and a quantized one with a byte a code, as older versions saved it."""
    toy_model.save(tmp_path / "full")
    fgq.quantize(fgq.load_model(tmp_path / "full"), recipe="rtn", progress=False).save(tmp_path / "small")
    return tmp_path


def packed_fingerprint(folder) -> str:
    return fingerprint(pack_layers(fgq.load_model(folder)))


def test_quantized_models_are_packed_unless_told(command, folders):
    call = ("quantize", folders / "full", "--recipe", "rtn", "--count", 2, "--frames", 2, "--size", 16)
    sizes = {}
    for option in ([], ["--unpacked"]):
        out = folders / f"out{len(option)}"
        assert command(*call, "--out", out, *option)[0] == 0
        sizes[len(option)] = (out / "model.safetensors").stat().st_size
        said = "a byte a code" if option else "codes packed at their own width"
        status, told, _ = command("info", out)
        assert status == 0 and f"MB on the disk, {said}\n" in told and "quantized layers" in told
    assert sizes[0] < sizes[1] and packed_fingerprint(folders / "out0") == packed_fingerprint(folders / "out1")


def test_an_older_folder_is_packed(command, folders):
    status, told, _ = command("pack", folders / "small", "--out", folders / "packed", "--shard-size", 1e-4)
    assert status == 0 and told.startswith("packed model, ") and len(list((folders / "packed").glob("*-of-*"))) > 1
    assert fingerprint(fgq.load_model(folders / "packed")) == packed_fingerprint(folders / "small")
    status, _, lines = command("pack", folders / "small", "--out", folders / "packed")
    assert status == 2 and "is not empty" in lines[-1]
    status, _, lines = command("pack", folders / "full", "--out", folders / "other")
    assert status == 2 and len(lines) == 1 and "is not quantized, so there are no codes to pack" in lines[0]


def test_a_delta_is_made_looked_at_and_applied(command, folders, build_toy):
    status, told, _ = command("pack", folders / "small", "--out", folders / "delta", "--base", folders / "full")
    assert status == 0 and told.startswith("delta without ") and " tensors of full, " in told
    status, told, _ = command("info", folders / "delta")
    assert status == 0 and "codes packed at their own width, a delta that lacks " in told
    status, _, lines = command("evaluate", folders / "delta", "--count", 1, "--frames", 2, "--size", 16)
    assert status == 2 and len(lines) == 1 and "give your own download of it as base" in lines[0]
    build_toy(1).save(folders / "wrong")
    call = ("apply-delta", folders / "delta", "--out", folders / "whole", "--base")
    status, _, lines = command(*call, folders / "wrong")
    assert status == 2 and len(lines) == 1 and "is another one" in lines[0] and not (folders / "whole").exists()
    assert command(*call, folders / "full")[0] == 0
    assert fingerprint(fgq.load_model(folders / "whole")) == packed_fingerprint(folders / "small")


def test_a_card_lies_in_the_model_s_folder(command, folders):
    assert command("card", folders / "small")[0] == 0
    assert "# full, rtn, W4A4" in (folders / "small" / "README.md").read_text()
    assert fgq.load_model(folders / "small").quantization.recipe.name == "rtn"  # which does not mind
    scenes = ("--count", 1, "--frames", 2, "--size", 16)
    assert command("evaluate", folders / "small", *scenes, "--out", folders / "report.csv")[0] == 0
    status, told, _ = command("card", folders / "small", "--report", folders / "report.csv", "--out", folders / "a.md")
    assert status == 0 and told == f"card: {folders / 'a.md'}\n" and "95 % intervals" in (folders / "a.md").read_text()
    status, _, lines = command("card", folders / "full")
    assert status == 2 and "states no recipe" in lines[-1] and not (folders / "full" / "README.md").exists()
