"""Bytes by part and kind against the file that holds them."""

import sys

import pytest
import torch
from safetensors.torch import load_file

import fgq
from fgq.calibrate import find_recipe
from fgq.calibrate.calibrate import replace_with_empty_blocks
from fgq.memory.info import Info
from fgq.memory.peak import PeakBytes
from fgq.memory.stored import KINDS, LAYERS
from fgq.vggt import VGGTConfig
from fgq.vggt.weights import empty_model
from tests.conftest import TOY_SIZES

PARTS = ["encoder", "frame blocks", "global blocks", "camera head", "depth head", "point head", "special tokens"]


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_all_bytes_are_told_and_what_they_are_for(build_toy, tmp_path, packed, dtype):
    full_precision = build_toy().to(dtype)
    small = fgq.quantize(full_precision, recipe="quarot", weight_group=8, weight_symmetric=False, progress=False)
    small.save(tmp_path, packed)
    stored = load_file(tmp_path / "model.safetensors")
    about = Info.open(str(tmp_path))
    table = about.stored()
    assert list(table.index) == [*PARTS, "all", LAYERS] and list(table.columns[: len(KINDS)]) == list(KINDS)

    def size(*endings) -> float:
        return sum(tensor.nbytes for name, tensor in stored.items() if name.endswith(endings))

    whole = table.loc["all"]
    assert whole["sum"] == size("") == whole[list(KINDS)].sum()
    assert whole.codes == size(".weight_packed", ".codes")
    scales = (".weight_scale", ".weight_zero_point", ".weight_shape", ".scale", ".zero", ".clip.table")
    assert whole.scales == size(*scales)
    assert whole.transforms == size(".left", ".right", ".diagonal")
    assert (table.loc[PARTS].sum()[list(KINDS)] == whole[list(KINDS)]).all()
    assert table.loc["depth head", "of bfloat16"] == (2 if dtype == torch.float32 else 1)
    full = sum(parameter.numel() for parameter in full_precision.parameters())
    assert whole["of float32"] == pytest.approx(size("") / (4 * full))
    assert about.form() == (", codes packed at their own width" if packed else ", a byte a code")


def test_layers_are_weighed_without_what_they_lie_between(toy_model, tmp_path):
    """In each of four blocks layers of [48, 16], [16, 16], [64, 16] and [16, 64] weights at 4 bits."""
    fgq.quantize(toy_model, recipe="rtn", progress=False).save(tmp_path, packed=True)
    outs, weights = 48 + 16 + 64 + 16, 48 * 16 + 16 * 16 + 64 * 16 + 16 * 64
    scales, shapes, biases, clips = 4 * outs, 4 * 16, 4 * outs, 4 * 8
    row = Info.open(str(tmp_path)).stored().loc[LAYERS]
    assert row["sum"] == 4 * (weights / 2 + scales + shapes + biases + clips)
    assert row["of float32"] == pytest.approx(row["sum"] / (4 * 4 * (weights + outs)))
    assert row["of bfloat16"] == pytest.approx(2 * row["of float32"])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process' peak")
def test_loading_takes_little_more_memory_than_the_file_has_bytes(tmp_path):
    """Every value is looked at afterwards, so that whatever is mapped from the file is resident."""
    sizes = TOY_SIZES | {"embed_dim": 512, "depth": 6, "dpt_layers": (1, 2, 3, 5)}
    model = empty_model(VGGTConfig(**sizes))
    replace_with_empty_blocks(model, find_recipe("flatquant"))
    model = model.to_empty(device="cpu")
    for tensor in model.state_dict().values():
        tensor.zero_()
    model.save(tmp_path, packed=True)
    size = (tmp_path / "model.safetensors").stat().st_size
    del model
    with PeakBytes() as peak:
        loaded = fgq.load_model(tmp_path)
        assert {tensor.any().item() for tensor in loaded.state_dict().values()} == {True, False}
    assert size > 50e6 and peak.bytes < 1.2 * size


def test_packed_codes_count_as_parameters(toy_model, tmp_path):
    small = fgq.quantize(toy_model, recipe="rtn", weight_bits=3, progress=False)
    for packed in (True, False):
        small.save(tmp_path / str(packed), packed)
    packed, unpacked = (Info.open(str(tmp_path / str(packed))).parts() for packed in (True, False))
    assert packed.equals(unpacked)
