import pytest
import torch

from fgq.vggt import VGGT
from fgq.vggt.weights import MisfitError, check_fit, empty_model, fill, fingerprint, join_numbers


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


def test_all_faults_are_listed(toy_model):
    state = dict(toy_model.state_dict())
    gone = list(state)[-5:]
    for name in gone:
        del state[name]
    state["extra.weight"] = torch.zeros(1)
    state["camera_head.token_norm.bias"] = torch.zeros(3)
    state["camera_head.trunk_norm.bias"] = torch.zeros(32, dtype=torch.int64)
    with pytest.raises(MisfitError) as caught:
        fill(empty_model(toy_model.config), state, "file.pt")
    said, found = str(caught.value), caught.value
    assert said.startswith("file.pt: ") and "\n" not in said
    assert "5 missing (" in said and "1 unknown (extra.weight)" in said
    assert "2 mis-shaped (camera_head.token_norm.bias [3] instead of [32]" in said
    assert "camera_head.trunk_norm.bias torch.int64 instead of torch.float32" in said
    assert found.missing == tuple(gone) and found.unknown == ("extra.weight",)
    assert set(found.misshaped) == {"camera_head.token_norm.bias", "camera_head.trunk_norm.bias"}
    for name in join_numbers(gone):
        assert name in said


def test_a_fit_is_checked_without_values(toy_model):
    listing = {name: tensor.to("meta") for name, tensor in toy_model.state_dict().items()}
    track = "track_head.a.weight"
    assert check_fit(toy_model, listing | {track: torch.zeros(1)}, "file") == (track,)


def test_names_that_differ_in_a_number_are_listed_as_one():
    names = [f"a.{i}.w" for i in (0, 1, 2, 7)] + ["a.3.b", "plain", "x.1.y.2.z", "x.1.y.3.z"]
    assert join_numbers(names) == ["a.{0-2,7}.w", "a.3.b", "plain", "x.1.y.2.z", "x.1.y.3.z"]


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
