import json
from pathlib import Path

import pytest
import torch

from fgq.errors import FgqError
from fgq.vggt import VGGT, VGGTConfig
from fgq.vggt.weights import SIZES, build_config, empty_model, fill, fingerprint, infer_sizes, to_dtype

DATA = Path(__file__).parents[1] / "data"


def shapes_of(model: VGGT) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def test_sizes_of_the_public_checkpoint_are_inferred():
    shapes = {name: tuple(s) for name, s in json.loads((DATA / "vggt_1b_state_dict.json").read_text()).items()}
    inferred, public = build_config({}, shapes, "file"), VGGTConfig()
    assert {name: getattr(inferred, name) for name in SIZES} == {name: getattr(public, name) for name in SIZES}


def test_sizes_of_a_small_model_are_inferred(toy_model):
    inferred = infer_sizes(shapes_of(toy_model), "file")
    del inferred["dpt_layers"]  # no tensor tells it
    for name, value in inferred.items():
        truth = getattr(toy_model.config, name)
        assert value == (tuple(truth) if isinstance(truth, list) else truth), name


def test_what_the_config_says_goes_before_what_shapes_tell(toy_model):
    config = build_config({"dpt_layers": [0, 1, 1, 1], "transformers_version": "5"}, shapes_of(toy_model), "file")
    assert config.dpt_layers == [0, 1, 1, 1] and config.embed_dim == toy_model.config.embed_dim


def test_other_models_are_refused(toy_model):
    with pytest.raises(FgqError, match="type 'bert'"):
        build_config({"model_type": "bert"}, {}, "file")
    with pytest.raises(FgqError, match="file: holds 1 tensors but no aggregator.camera_token: not the weights"):
        build_config({}, {"weight": (1,)}, "file")


def test_an_empty_model_is_filled_with_the_very_values(toy_model, toy_images):
    filled = fill(empty_model(toy_model.config), toy_model.state_dict(), "file")
    assert not filled.omitted_tensors
    with torch.no_grad():
        assert torch.equal(filled(toy_images).depth, toy_model(toy_images).depth)
    assert all(parameter.requires_grad for parameter in filled.parameters())


def test_the_track_head_is_left_out_with_a_warning(toy_model):
    state = toy_model.state_dict() | {"track_head.tracker.weight": torch.zeros(2)}
    with pytest.warns(UserWarning, match="file: 1 tensors of the track head"):
        filled = fill(empty_model(toy_model.config), state, "file")
    assert filled.omitted_tensors == ("track_head.tracker.weight",)


def test_all_faults_are_counted_and_the_first_ones_named(toy_model):
    state = dict(toy_model.state_dict())
    for name in list(state)[-5:]:
        del state[name]
    state["extra.weight"] = torch.zeros(1)
    state["camera_head.token_norm.bias"] = torch.zeros(3)
    state["camera_head.trunk_norm.bias"] = torch.zeros(32, dtype=torch.int64)
    with pytest.raises(FgqError) as caught:
        fill(empty_model(toy_model.config), state, "file.pt")
    said = str(caught.value)
    assert said.startswith("file.pt: ") and "\n" not in said
    assert "5 missing (depth_head." in said and ", …)" in said
    assert "1 unknown (extra.weight)" in said
    assert "1 mis-shaped (camera_head.token_norm.bias [3] instead of [32])" in said
    assert "1 of another type (camera_head.trunk_norm.bias torch.int64 instead of torch.float32)" in said


def test_only_floating_point_tensors_change_type():
    state = to_dtype({"weight": torch.ones(2), "codes": torch.ones(2, dtype=torch.int8)}, torch.bfloat16)
    assert state["weight"].dtype == torch.bfloat16 and state["codes"].dtype == torch.int8


def test_fingerprints_tell_models_apart(build_toy):
    model, twin, other = build_toy(0), build_toy(0), build_toy(1)
    assert fingerprint(model) == fingerprint(twin) != fingerprint(other)
    with torch.no_grad():
        twin.camera_head.trunk_norm.bias[0] += 1e-7
    assert fingerprint(model) != fingerprint(twin)
    assert fingerprint(model) != fingerprint(model.bfloat16())


@pytest.mark.parametrize("shard", ["5GB", "20KB"])
def test_transformers_saves_and_loads_it(toy_model, tmp_path, shard):
    toy_model.save_pretrained(tmp_path, max_shard_size=shard)
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == (shard == "20KB")
    loaded, report = VGGT.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    assert fingerprint(loaded) == fingerprint(toy_model)
    half = VGGT.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert fingerprint(half) == fingerprint(toy_model.bfloat16())
