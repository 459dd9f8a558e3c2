import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel

import fgq
from fgq.affine import BlockSpec, LearnableBlock, QuantizedBlock
from fgq.data.scene import Scene
from fgq.errors import FgqError
from fgq.quant import Grid
from fgq.vggt import VGGT
from fgq.vggt.weights import fingerprint


def round_block(model, name: str, spec: BlockSpec) -> None:
    """Puts a quantized block with random transforms in place of block `name`."""
    block = dict(model.aggregator.blocks())[name]
    learnable = LearnableBlock(block, spec, generator=torch.Generator().manual_seed(3))
    model.aggregator.replace_block(name, learnable.freeze())


@pytest.fixture
def mixed_model(toy_model):
    """Two of four blocks quantized, each in its own way, one of them in groups."""
    round_block(toy_model, "G0", BlockSpec(Grid(4), Grid(8, per="token"), "kronecker", "learned"))
    round_block(toy_model, "F1", BlockSpec(Grid(3, symmetric=False, group=8), Grid(4, per="token", group=4)))
    return toy_model


def assert_same(loaded, model, images) -> None:
    assert fingerprint(loaded) == fingerprint(model)
    for (_, ours), (_, theirs) in zip(loaded.aggregator.blocks(), model.aggregator.blocks(), strict=True):
        assert type(ours) is type(theirs)
        if isinstance(ours, QuantizedBlock):
            assert ours.spec == theirs.spec
    with torch.no_grad():
        truth, again = model(images), loaded(images)
    for name in ("pose_enc", "depth", "depth_conf", "world_points", "world_points_conf"):
        assert torch.equal(again[name], truth[name]), name


def test_blocks_quantized_in_different_ways_come_back_bit_for_bit(mixed_model, toy_images, tmp_path):
    mixed_model.save(tmp_path)
    assert_same(fgq.load_model(tmp_path), mixed_model, toy_images)


@pytest.mark.filterwarnings("ignore:.*so its start was kept")  # one epoch does not always gain
@pytest.mark.parametrize("recipe", ["rtn", "fgq"])
def test_what_quantize_made_comes_back_with_its_recipe(build_toy, toy_images, tmp_path, recipe):
    model = build_toy(embed_dim=32)
    scenes = [Scene(f"s{i}", clip) for i, clip in enumerate(toy_images)]
    fisher = fgq.estimate_fisher(model, scenes, progress=False)
    small = fgq.quantize(model, scenes, recipe, fisher=fisher, epochs=1, warmup_steps=0, progress=False)
    small.save(tmp_path)
    loaded = fgq.load_model(tmp_path)
    assert_same(loaded, small, toy_images)
    assert loaded.quantization == small.quantization and loaded.quantization.recipe.name == recipe


def test_a_half_precision_model_keeps_its_types(mixed_model, toy_images, tmp_path):
    model = mixed_model.bfloat16()
    model.save(tmp_path)
    loaded = fgq.load_model(tmp_path)
    assert_same(loaded, model, toy_images.bfloat16())
    assert fgq.load_model(tmp_path, dtype=torch.float32).dtype == torch.float32


def test_the_form_of_transformers_keeps_quantized_blocks(mixed_model, toy_images, tmp_path):
    mixed_model.save_pretrained(tmp_path)
    assert_same(fgq.load_model(tmp_path), mixed_model, toy_images)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("loader", [VGGT, AutoModel])
def test_transformers_loads_quantized_models(mixed_model, toy_images, tmp_path, loader, packed):
    mixed_model.save(tmp_path, packed=packed)
    loaded, own = loader.from_pretrained(tmp_path), fgq.load_model(tmp_path)
    assert_same(loaded, own, toy_images)
    half = loader.from_pretrained(str(tmp_path), dtype="bfloat16", device_map="cpu")
    assert half.dtype == torch.bfloat16 and fingerprint(half) == fingerprint(fgq.load_model(tmp_path, dtype="bfloat16"))
    with pytest.raises(FgqError, match="tpu"):
        loader.from_pretrained(tmp_path, device_map="tpu")


def test_tensors_that_are_missing_are_not_made_up(toy_model, tmp_path):
    toy_model.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    del state["aggregator.frame_blocks.1.attn.proj.weight"]
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        FgqError, match="1 tensors are missing, aggregator.frame_blocks.1.attn.proj.weight is the first"
    ):
        VGGT.from_pretrained(tmp_path)


def test_weights_are_stored_as_codes_alone(toy_model, tmp_path):
    for name, _ in list(toy_model.aggregator.blocks()):
        round_block(toy_model, name, BlockSpec(Grid(8), Grid(8, per="token")))
    toy_model.save(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    codes = {name: tensor for name, tensor in stored.items() if name.endswith(".codes")}
    assert len(codes) == 4 * toy_model.config.num_blocks  # qkv, proj, fc1, fc2
    assert {tensor.dtype for tensor in codes.values()} == {torch.int8}
    assert not any(name.removesuffix("codes") + "weight" in stored for name in codes)


def test_a_full_precision_model_saved_over_a_quantized_one_leaves_nothing_of_it(mixed_model, build_toy, tmp_path):
    mixed_model.save(tmp_path)
    model = build_toy()
    model.save(tmp_path)
    assert fingerprint(fgq.load_model(tmp_path)) == fingerprint(model)


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda d: d | {"format": "other"}, "has format 'other'"),
        (lambda d: d | {"blocks": {"F9": {}}}, "describes block F9, which the model does not have"),
        (lambda d: d | {"blocks": {"G0": {}}}, "describes block G0 in a way fgq cannot read"),
        (lambda d: d | {"blocks": {"G0": d["blocks"]["G0"] | {"weight": {"bits": 99}}}}, "99 bits"),
        (lambda d: d | {"blocks": {"G0": d["blocks"]["G0"] | {"weight": {"bits": 4, "group": 7}}}}, "a group of 7"),
        (lambda d: d | {"blocks": {"G0": d["blocks"]["G0"]}}, "missing"),
        (lambda d: d | {"blocks": {**d["blocks"], "F0": d["blocks"]["G0"]}}, "missing"),
        (lambda d: d | {"calibration": {"seed": 1}}, "states a calibration that fgq cannot read"),
        (
            lambda d: d | {"calibration": {"blocks": [], "seed": 0, "recipe": [1]}},
            "states a calibration that fgq cannot read",
        ),
        (lambda d: d | {"calibration": [d]}, "states a calibration that fgq cannot read"),
        (lambda d: d | {"blocks": ["F0"]}, "its blocks cannot be read"),
        (lambda d: d | {"blocks": None}, "its blocks cannot be read"),
        (lambda d: d | {"parts": [5]}, "its parts cannot be read"),
        (lambda d: d | {"parts": {"encoder": [5]}}, "describes the encoder in a way fgq cannot read"),
        (lambda d: d | {"model": ["a"]}, "its model cannot be read"),
        *(
            (lambda d, content=content: d | {"blocks": {"G0": content}}, "describes block G0 in a way fgq cannot read")
            for content in (5, [], "x", {"weight": "W4", "activation": {"bits": 4}}, {"weight": {}, "activation": {}})
        ),
        *(
            (lambda d, grid=grid: d | {"blocks": {"G0": d["blocks"]["G0"] | {"weight": grid}}}, "of a grid is")
            for grid in ({"bits": True}, {"bits": "4"}, {"bits": 4, "symmetric": "no"}, {"bits": 4, "group": True})
        ),
    ],
)
def test_a_description_that_does_not_fit_is_refused(mixed_model, tmp_path, change, said):
    mixed_model.save(tmp_path)
    path = tmp_path / "quantization.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(FgqError, match=said) as caught:
        fgq.load_model(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("file", ["quantization.json", "config.json"])
@pytest.mark.parametrize("content", ["[" * 100_000, '{"a":' * 100_000, '{"depth": ' + "9" * 5000 + "}", "\ufeff{}"])
def test_json_that_python_itself_refuses_is_one_line(toy_model, tmp_path, file, content):
    toy_model.save(tmp_path)
    (tmp_path / file).write_text(content, encoding="utf-8")
    with pytest.raises(FgqError, match=f"{file}: not readable as JSON") as caught:
        fgq.load_model(tmp_path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_weights_keep_their_name_through_quantization_and_a_checkpoint(toy_model, tmp_path):
    toy_model.save(tmp_path / "mine")
    full = fgq.load_model(tmp_path / "mine")
    assert full.name_or_path == "mine" and fgq.load_model("vggt-tiny").name_or_path == "vggt-tiny"
    small = fgq.quantize(full, recipe="rtn", progress=False)
    small.save(tmp_path / "small")
    assert small.name_or_path == fgq.load_model(tmp_path / "small").name_or_path == "mine"
