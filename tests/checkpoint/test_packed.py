"""Packed checkpoints: the same model in fewer bytes, on disk and in memory, or refused in words."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import fgq
from fgq.affine import BlockSpec, LearnableBlock
from fgq.data.scene import Scene
from fgq.errors import FgqError
from fgq.quant import Grid, PackedLinear, QuantizedLinear, unpack_layers
from fgq.quant.packed_linear import quantized_layers
from fgq.vggt.weights import fingerprint

OUTPUTS = ("pose_enc", "depth", "depth_conf", "world_points", "world_points_conf")


def refused(path, **options) -> str:
    with pytest.raises(FgqError) as caught:
        fgq.load_model(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def assert_same_model(loaded, model, images) -> None:
    """Codes and outputs are equal, and what is unpacked is the model that was saved."""
    assert all(type(layer) is PackedLinear for _, layer in quantized_layers(loaded))
    assert fingerprint(unpack_layers(loaded)) == fingerprint(unpack_layers(model))
    assert loaded.quantization == model.quantization
    with torch.no_grad():
        truth, again = model(images), loaded(images)
    assert all(torch.equal(again[name], truth[name]) for name in OUTPUTS)


@pytest.fixture
def small(toy_model):
    return fgq.quantize(toy_model, recipe="rtn", weight_bits=3, progress=False)


@pytest.fixture
def of_every_kind(toy_model):
    """Each block with another grid, transform and width; layers of 2 to 8 bits, one not quantized."""
    own = {"layer_bits": (2, 5, 6, 16)}
    tokens = Grid(4, per="token")
    specs = {
        "F0": BlockSpec(Grid(4), tokens, "kronecker", "learned", activation_bits=((4, 8),) * 4),
        "G0": BlockSpec(Grid(3, symmetric=False, group=8), Grid(4, False, "token", 4), "diagonal"),
        "F1": BlockSpec(Grid(7, symmetric=False), tokens, "rotation_smoothing", **own),
        "G1": BlockSpec(Grid(8), Grid(16, per="token"), "rotation", qkv_clip="shared"),
    }
    for name, block in list(toy_model.aggregator.blocks()):
        learnable = LearnableBlock(block, specs[name], generator=torch.Generator().manual_seed(3))
        toy_model.aggregator.replace_block(name, learnable.freeze())
    return toy_model


def test_every_kind_of_layer_comes_back(of_every_kind, toy_images, tmp_path):
    of_every_kind.save(tmp_path, packed=True)
    loaded = fgq.load_model(tmp_path)
    bits = {layer.weight_grid.bits for _, layer in quantized_layers(loaded)}
    assert bits == {2, 3, 4, 5, 6, 8} and type(loaded.aggregator.frame_blocks[1].mlp.fc2) is QuantizedLinear
    assert_same_model(loaded, of_every_kind, toy_images)


@pytest.mark.filterwarnings("ignore:.*so its start was kept")
@pytest.mark.filterwarnings("ignore:.*the loss diverged")
@pytest.mark.parametrize("recipe, changes", [("fgq+", {}), ("rtn", {"bit_budget": 3.5, "encoder": "nearest"})])
def test_what_recipes_make_comes_back(build_toy, toy_images, tmp_path, recipe, changes):
    model, scenes = build_toy(), [Scene(f"s{i}", clip) for i, clip in enumerate(toy_images)]
    fisher = fgq.estimate_fisher(model, scenes, progress=False)
    changes = changes or {"epochs": 1, "warmup_steps": 0}
    small = fgq.quantize(model, scenes, recipe, fisher=fisher, progress=False, **changes)
    small.save(tmp_path, packed=True)
    loaded = fgq.load_model(tmp_path)
    assert_same_model(loaded, small, toy_images)
    assert loaded.quantization.fisher == (fisher.origin() if "bit_budget" in changes else None)  # what was used
    if "bit_budget" in changes:
        assert len({layer.weight_grid.bits for _, layer in quantized_layers(loaded)}) > 1
        assert isinstance(loaded.aggregator.patch_embed.blocks[0].attn.qkv, PackedLinear)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_packed_model_is_saved_packed_whatever_its_type(small, toy_images, tmp_path, dtype):
    small = small.to(dtype)
    small.save(tmp_path / "a", packed=True)
    loaded = fgq.load_model(tmp_path / "a")
    loaded.save(tmp_path / "b")
    assert (tmp_path / "a/model.safetensors").read_bytes() == (tmp_path / "b/model.safetensors").read_bytes()
    assert_same_model(loaded, small, toy_images.to(dtype))
    unpack_layers(loaded).save(tmp_path / "c")
    assert fingerprint(fgq.load_model(tmp_path / "c")) == fingerprint(small)


def test_the_form_of_transformers_keeps_packed_codes(small, toy_images, tmp_path):
    small.save(tmp_path / "a", packed=True)
    fgq.load_model(tmp_path / "a").save_pretrained(tmp_path / "b", max_shard_size="20KB")
    assert_same_model(fgq.load_model(tmp_path / "b"), small, toy_images)


def test_codes_take_their_bits_and_nothing_else_changes(small, tmp_path):
    for packed in (False, True):
        small.save(tmp_path / str(packed), packed=packed)
    before, after = (load_file(tmp_path / str(packed) / "model.safetensors") for packed in (False, True))
    of_codes = {name.removesuffix(".codes") for name in before if name.endswith(".codes")}
    assert len(of_codes) == 4 * small.config.num_blocks
    for path in of_codes:
        out, width = before[f"{path}.codes"].shape
        assert after[f"{path}.weight_packed"].shape == (out, -(-width * 3 // 32))
        assert torch.equal(after[f"{path}.weight_scale"], before[f"{path}.scale"])
        assert after[f"{path}.weight_shape"].tolist() == [out, width]
    both = before.keys() & after.keys()
    assert len(both) == len(before) - 2 * len(of_codes) and all(torch.equal(before[n], after[n]) for n in both)


def test_linear_layers_of_blocks_take_less_than_0_16_of_their_float32_bytes(tmp_path):
    """vggt-tiny at W4A4, all that belongs to the layers included: transforms, clips, shapes, names and checksums."""
    model = fgq.load_model("vggt-tiny")
    full = sum(
        4 * (layer.weight.numel() + layer.bias.numel())
        for _, block in model.aggregator.blocks()
        for layer in block.modules()
        if isinstance(layer, torch.nn.Linear)
    )
    tokens = Grid(4, per="token")
    for name, block in list(model.aggregator.blocks()):
        learnable = LearnableBlock(block, BlockSpec(Grid(4), tokens, "kronecker", "learned"))
        model.aggregator.replace_block(name, learnable.freeze())
    model.save(tmp_path, packed=True)
    norms = (".norm1.", ".norm2.", ".q_norm.", ".k_norm.", ".ls1.", ".ls2.")
    own = {
        name: tensor.nbytes
        for name, tensor in fgq.load_model(tmp_path).state_dict().items()
        if "_blocks." in name and not any(each in name for each in norms)
    }
    with (tmp_path / "model.safetensors").open("rb") as file:
        header = file.read(int.from_bytes(file.read(8), "little")).decode()
    told = sum(len(json.dumps(name)) + 120 for name in own)  # entry of the header, and checksum
    assert len(header) > told and sum(own.values()) < sum(own.values()) + told < 0.16 * full


@pytest.mark.parametrize(
    "change, said",
    [
        ({"format": "fgq-quantized-9"}, "format 'fgq-quantized-9', this fgq .*: use the fgq that wrote it, or a newer"),
        ({"quant_method": "compressed-tensors"}, "quantization.json states quant_method 'compressed-tensors'"),
    ],
)
def test_what_others_or_later_ones_wrote_is_refused(small, tmp_path, change, said):
    small.save(tmp_path, packed=True)
    path = tmp_path / "quantization.json"
    content = json.loads(path.read_text())
    assert (content["format"], content["quant_method"]) == ("fgq-quantized-3", "fgq")
    path.write_text(json.dumps(content | change))
    with pytest.raises(FgqError, match=said):
        fgq.load_model(tmp_path)


def test_a_quantization_that_only_transformers_knows_is_refused(small, tmp_path):
    small.save(tmp_path, packed=True)
    config = json.loads((tmp_path / "config.json").read_text())
    for stated, said in (({"quant_method": "awq"}, "'awq'"), ("gptq", "'gptq'")):
        (tmp_path / "config.json").write_text(json.dumps(config | {"quantization_config": stated}))
        assert f"the quantization_config in config.json states quant_method {said}" in refused(tmp_path)


def test_packed_codes_of_another_shape_or_type_are_refused(small, tmp_path):
    small.save(tmp_path, packed=True)
    weights, path = tmp_path / "model.safetensors", "aggregator.frame_blocks.0.attn.qkv"
    whole = {name: tensor.clone() for name, tensor in load_file(weights).items()}
    for name, change, said in (
        ("weight_shape", lambda shape: shape.flip(0), "weight_shape is [16, 48], the model has [48, 16]"),
        ("weight_packed", lambda words: words.long(), "weight_packed is of type torch.int64, not torch.int32"),
        ("weight_packed", lambda words: words[:, :1].clone(), "[48, 1] instead of [48, 2]"),
    ):
        save_file(whole | {f"{path}.{name}": change(whole[f"{path}.{name}"])}, weights)
        assert path in refused(tmp_path) and said in refused(tmp_path)


def test_codes_that_do_not_fit_are_not_saved(small, tmp_path):
    small.aggregator.global_blocks[1].mlp.fc2.codes[3, 5] = 4
    with pytest.raises(FgqError, match=r"^aggregator.global_blocks.1.mlp.fc2: codes from -?\d to 4 do not fit 3 bits"):
        small.save(tmp_path / "new", packed=True)
    assert not (tmp_path / "new").exists()
