import copy
import json

import pytest
import torch
from torch import nn
from torch.nn import functional

import fgq
from fgq.calibrate import RECIPES, Quantization, RecipeError, quantize
from fgq.data.scene import Scene
from fgq.errors import FgqError
from fgq.quant import Grid, QuantizedLinear
from fgq.vggt.weights import fingerprint

pytestmark = pytest.mark.filterwarnings("ignore:.*so its start was kept")  # too few steps here to always gain
BOTH = dict(encoder="nearest", camera_head="nearest")
FIELDS = ("pose_enc", "depth", "world_points")


def make_scenes(count=4):
    generator = torch.Generator().manual_seed(5)
    return [Scene(f"s{i}", torch.rand(2, 3, 16, 16, generator=generator)) for i in range(count)]


@pytest.fixture
def images():
    return torch.stack([scene.images for scene in make_scenes()])


@pytest.fixture
def run(toy_model):
    def quantized(recipe="rtn", *bits, scenes=None, **changes):
        blocks, channels = toy_model.config.num_blocks, toy_model.config.embed_dim
        fixed = dict(fisher=torch.ones(blocks, channels), epochs=1, warmup_steps=0, rounding_steps=4, progress=False)
        return quantize(toy_model, make_scenes() if scenes is None else scenes, recipe, *bits, **(fixed | changes))

    return quantized


class SlowLinear(nn.Module):
    """Fake quantization of a linear layer's input and weight, written out."""

    def __init__(self, linear: nn.Linear, weight: Grid, activation: Grid):
        super().__init__()
        self.weight, self.bias, self.activation = weight.fake_quantize(linear.weight), linear.bias, activation

    def forward(self, x):
        return functional.linear(self.activation.fake_quantize(x), self.weight, self.bias)


def slowly(model, name: str, *grids: Grid):
    """A model whose part `name` has every linear layer exchanged but those around the nine numbers of a pose."""
    model = copy.deepcopy(model)
    part = model.aggregator.patch_embed if name == "encoder" else model.camera_head
    for path, module in list(part.named_modules()):
        if isinstance(module, nn.Linear) and not path.startswith(("embed_pose", "pose_branch")):
            part.set_submodule(path, SlowLinear(module, *grids))
    return model


@pytest.mark.parametrize("name", ["encoder", "camera_head"])
@pytest.mark.parametrize("symmetric", [True, False])
def test_a_rounded_part_computes_what_fake_quantization_does(toy_model, run, images, name, symmetric):
    small = run("rtn", 4, 8, weight_symmetric=symmetric, activation_symmetric=symmetric, **{name: "nearest"})
    slow = slowly(toy_model, name, Grid(4, symmetric), Grid(8, symmetric, "token"))
    tokens = torch.randn(4, 3, 2 * toy_model.config.embed_dim, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours, truth, plain = (
            model.aggregator.embed(images)[:, 3:] if name == "encoder" else model.camera_head(tokens)[-1]
            for model in (small, slow, toy_model)
        )
    # The last bit of an activation can flip a code of the next layer: not every value agrees.
    assert (ours - truth).abs().mean() < 0.05 * (plain - truth).abs().mean()
    assert (plain - truth).abs().mean() > 1e-3 * truth.abs().mean()


def layers(module, kind):
    return {name for name, layer in module.named_modules() if isinstance(layer, kind)}


def test_what_stays_in_full_precision_is_what_is_said(toy_model, run):
    small, published = run(**BOTH), run()
    assert layers(small.camera_head, nn.Linear) == {"embed_pose", "pose_branch.fc1", "pose_branch.fc2"}
    assert not layers(small.aggregator.patch_embed, nn.Linear)
    assert layers(small.aggregator.patch_embed, nn.Conv2d) == {"patch_embed.proj"}
    for path in ("camera_head", "aggregator.patch_embed"):
        assert layers(toy_model.get_submodule(path), nn.Linear) == layers(published.get_submodule(path), nn.Linear)
        assert not layers(published.get_submodule(path), QuantizedLinear)
        kept = layers(small.get_submodule(path), QuantizedLinear) | layers(small.get_submodule(path), nn.Linear)
        assert kept == layers(toy_model.get_submodule(path), nn.Linear)
    assert published.quantization.parts == ()


@pytest.mark.parametrize("recipe", RECIPES)
def test_with_every_recipe_parts_come_back_from_a_file_and_reach_only_blocks_that_read_them(
    run, images, tmp_path, recipe
):
    small, without = run(recipe, 4, 8, **BOTH), run(recipe, 4, 8)
    pairs = list(zip(small.aggregator.blocks(), without.aggregator.blocks(), strict=True))
    are_equal = {fingerprint(ours) == fingerprint(theirs) for (_, ours), (_, theirs) in pairs}
    assert are_equal == {RECIPES[recipe].block_inputs == "full_precision"}
    small.save(tmp_path)
    loaded = fgq.load_model(tmp_path)
    assert fingerprint(loaded) == fingerprint(small) and loaded.quantization == small.quantization
    assert [part.name for part in loaded.quantization.parts] == ["encoder", "camera_head"]
    with torch.no_grad():
        ours, theirs = loaded(images), small(images)
    assert all(torch.equal(ours[field], theirs[field]) for field in FIELDS)


def test_groups_come_back_from_a_file_too(run, images, tmp_path):
    small = run("rtn", 3, 4, weight_group=8, activation_group=4, weight_symmetric=False, **BOTH)
    assert small.camera_head.trunk[0].attn.qkv.scale.shape == (96, 4)
    small.save(tmp_path)
    with torch.no_grad():
        assert torch.equal(fgq.load_model(tmp_path)(images).depth, small(images).depth)


@pytest.mark.parametrize("recipe", ["rtn", "quantvggt", "fgq"])
def test_sixteen_bits_predict_as_the_full_model(toy_model, run, images, recipe, relative_error):
    small = run(recipe, 16, 16, **BOTH)
    with torch.no_grad():
        ours, theirs = small(images), toy_model(images)
    assert all(relative_error(ours[field], theirs[field]) < 2e-5 for field in FIELDS)
    assert all(part.relative_error < 1e-6 for part in small.quantization.parts)


def test_the_log_holds_each_part_s_own_error(toy_model, run, images):
    small = run("rtn", 4, 8, **BOTH)
    encoder, camera = small.quantization.parts
    assert (encoder.layers, camera.layers) == (4, 4 + 1)  # one block each; shift, scale and gate of the camera head
    special = toy_model.config.num_special_tokens
    with torch.no_grad():
        truth, ours = (model.aggregator.embed(images)[:, special:] for model in (toy_model, small))
        outputs = toy_model.aggregator(images)
        tokens = torch.cat([outputs[-2][:, 0], outputs[-1][:, 0]], dim=-1).unflatten(0, (4, 2))
        poses = [model.camera_head(tokens)[-1] for model in (toy_model, small)]
    for log, (full, rounded) in ((encoder, (truth, ours)), (camera, poses)):
        error = (rounded - full).square().mean().item()
        assert log.output_error == pytest.approx(error, rel=1e-4) and error > 0
        assert log.relative_error == pytest.approx((error / full.square().mean().item()) ** 0.5, rel=1e-4)
    finer = run("rtn", 8, 8, **BOTH).quantization.parts
    assert all(a.output_error < 0.1 * b.output_error for a, b in zip(finer, (encoder, camera), strict=True))


def test_reports_keep_models_with_rounded_parts_apart(run):
    reports = [fgq.evaluate(small, make_scenes(), progress=False) for small in (run(scenes=(), **BOTH), run(scenes=()))]
    assert [set(report.frame.recipe) for report in reports] == [{"rtn + encoder + camera_head"}, {"rtn"}]


def test_without_scenes_there_is_no_error_to_state(run):
    small = run(scenes=(), **BOTH)
    assert [(part.output_error, part.relative_error) for part in small.quantization.parts] == [(None, None)] * 2
    assert fingerprint(small) == fingerprint(run(**BOTH))


def test_a_record_from_before_parts_were_rounded_still_loads(run):
    record = json.loads(json.dumps(run().quantization.to_dict()))
    del record["parts"], record["recipe"]["encoder"], record["recipe"]["camera_head"]
    assert Quantization.from_dict(record).parts == ()
    assert Quantization.from_dict(record).recipe == run().quantization.recipe


def test_with_quantized_inputs_blocks_read_what_the_rounded_encoder_gives(toy_model, run, images):
    small = run("gptq", 3, 4, block_inputs="quantized", **BOTH)
    with torch.no_grad():
        targets, outputs = toy_model.aggregator(images), small.aggregator(images)
    for log, output, target in zip(small.quantization.blocks, outputs, targets, strict=True):
        assert log.final_loss == pytest.approx((output - target).square().mean().item(), rel=1e-3)


def test_the_full_model_is_left_as_it_was_and_in_place_it_becomes_the_result(toy_model, run):
    before = fingerprint(toy_model)
    other = run("flatquant", 4, 4, **BOTH)
    assert fingerprint(toy_model) == before and toy_model.quantization is None
    shared = {value.data_ptr() for value in toy_model.state_dict().values()}
    assert not shared & {value.data_ptr() for value in other.state_dict().values()}
    same = run("flatquant", 4, 4, in_place=True, **BOTH)
    assert same is toy_model and fingerprint(same) == fingerprint(other)


def test_after_a_stop_parts_and_smoothing_come_out_the_same(run, tmp_path):
    whole = run("quantvggt", 4, 4, resume_dir=tmp_path / "blocks", **BOTH)
    (tmp_path / "blocks" / "G0.safetensors").unlink()
    (tmp_path / "blocks" / "F1.safetensors").unlink()
    again = run("quantvggt", 4, 4, resume_dir=tmp_path / "blocks", **BOTH)
    assert fingerprint(again) == fingerprint(whole) and again.quantization.parts == whole.quantization.parts
    with pytest.raises(FgqError, match="differs in recipe's camera_head"):
        run("quantvggt", 4, 4, resume_dir=tmp_path / "blocks", encoder="nearest")


def test_work_on_another_device_ends_where_the_model_was(toy_model, run):
    """The device cpu:0 is another device than cpu to torch, and computes the same."""
    here, there = (run("quantvggt", 4, 4, device=device, **BOTH) for device in (None, "cpu:0"))
    assert fingerprint(here) == fingerprint(there) and here.quantization.parts == there.quantization.parts
    for model in (there, toy_model):
        assert {value.device for value in model.state_dict().values()} == {torch.device("cpu")}


def test_half_precision_parts_keep_the_model_s_type(toy_model, images, tmp_path):
    small = quantize(toy_model.bfloat16(), recipe="rtn", progress=False, **BOTH)
    assert {value.dtype for value in small.state_dict().values()} == {torch.bfloat16, torch.int8}
    small.save(tmp_path)
    with torch.no_grad():
        assert torch.equal(fgq.load_model(tmp_path)(images).pose_enc, small(images).pose_enc)


def test_what_cannot_be_done_is_one_clear_line(toy_model, run, tmp_path):
    with pytest.raises(FgqError, match="encoder 'gptq' is unknown: choose full_precision or nearest"):
        run(encoder="gptq")
    toy_model.camera_head = run(camera_head="nearest").camera_head
    with pytest.raises(RecipeError, match="the camera_head is quantized already"):
        run(camera_head="nearest")


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda parts: parts | {"depth_head": parts["encoder"]}, "describes part depth_head, which fgq does not round"),
        (lambda parts: parts | {"encoder": {}}, "describes the encoder in a way fgq cannot read"),
        (lambda parts: {"camera_head": parts["camera_head"]}, "missing"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(run, tmp_path, change, said):
    run(**BOTH).save(tmp_path)
    path = tmp_path / "quantization.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"parts": change(content["parts"])}))
    with pytest.raises(FgqError, match=said) as caught:
        fgq.load_model(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}: ") and "\n" not in str(caught.value)
