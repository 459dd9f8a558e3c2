import copy
import json

import pytest
import torch
from safetensors.torch import save_file

import fgq
from fgq.checkpoint.files import shipped_models
from fgq.errors import FgqError
from fgq.vggt.weights import fingerprint


def test_a_saved_model_is_loaded_bit_for_bit(toy_model, toy_images, tmp_path):
    toy_model.save(tmp_path / "new" / "model")
    loaded = fgq.load_model(tmp_path / "new" / "model")
    assert fingerprint(loaded) == fingerprint(toy_model)
    assert loaded.config.to_dict() == toy_model.config.to_dict()
    assert not loaded.training
    with torch.no_grad():
        assert torch.equal(loaded(toy_images).depth, toy_model(toy_images).depth)


def test_a_model_can_be_saved_over_the_files_it_came_from(toy_model, tmp_path):
    toy_model.save_pretrained(tmp_path, max_shard_size="20KB")
    fgq.load_model(tmp_path).save(tmp_path)
    again = fgq.load_model(tmp_path)
    again.save(tmp_path)
    assert fingerprint(fgq.load_model(tmp_path)) == fingerprint(again) == fingerprint(toy_model)


def test_shards_that_transformers_wrote_are_loaded(toy_model, tmp_path):
    toy_model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert fingerprint(fgq.load_model(tmp_path)) == fingerprint(toy_model)


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_a_file_alone_tells_its_sizes(build_toy, tmp_path, suffix):
    model = build_toy(depth=3, dpt_layers=None)
    path = tmp_path / f"weights.{suffix}"
    if suffix == "pt":
        torch.save(model.state_dict(), path)
    else:
        save_file(model.state_dict(), path)
    loaded = fgq.load_model(str(path))
    assert fingerprint(loaded) == fingerprint(model) and loaded.config.dpt_layers == model.config.dpt_layers


def test_half_precision_files_become_float32_unless_told(toy_model, tmp_path):
    toy_model.bfloat16().save(tmp_path)
    assert fgq.load_model(tmp_path).dtype == torch.float32
    assert fingerprint(fgq.load_model(tmp_path, dtype=torch.bfloat16)) == fingerprint(toy_model)


def test_a_config_of_other_sizes_is_one_clear_error(toy_model, tmp_path):
    toy_model.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"depth": 3}))
    with pytest.raises(FgqError, match="says depth 3, but the tensors .aggregator.frame_blocks.. say 2") as caught:
        fgq.load_model(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}: ") and "\n" not in str(caught.value)


def test_a_dtype_may_be_a_name_and_must_be_one_of_weights(toy_model, tmp_path):
    toy_model.save(tmp_path)
    for dtype in ("float32", "bfloat16", "float16"):
        assert fingerprint(fgq.load_model(tmp_path, dtype=dtype)) == fingerprint(
            copy.deepcopy(toy_model).to(getattr(torch, dtype))
        )
    for dtype in ("int8", "bf16", "nn", torch.int64):
        with pytest.raises(FgqError, match="is no type of weights"):
            fgq.load_model(tmp_path, dtype=dtype)


def test_a_device_that_is_not_there_is_refused(toy_model, tmp_path):
    toy_model.save(tmp_path)
    for device in ("nowhere", "cuda:99"):
        with pytest.raises(FgqError, match=f"device {device} cannot be used"):
            fgq.load_model(tmp_path, device=device)


@pytest.mark.parametrize("name", shipped_models())
def test_shipped_models_load(name):
    model = fgq.load_model(name)
    assert model.dtype == torch.float32
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
