import json

import pytest
import torch
from safetensors.torch import save_file

from fgq.checkpoint.files import find_files, is_hub_id, read_tensors
from fgq.errors import FgqError


def refused(path) -> str:
    with pytest.raises(FgqError) as caught:
        read_tensors(find_files(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_name_that_is_nothing_lists_what_could_be_meant(tmp_path):
    assert "no such file or folder" in refused(tmp_path / "none")


def test_only_owner_and_model_make_a_hub_id():
    assert is_hub_id("facebook/VGGT-1B") and is_hub_id("owner/model-1.5")
    for name in ("vggt-tiny", "./model", "a/b/c", "/model", "owner/", "out/model.safetensors", "~/model", ".."):
        assert not is_hub_id(name), name


def test_a_hub_without_network_says_so_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    said = refused("someone/some-model")
    assert said.startswith("someone/some-model: no such folder here, and the hub did not give it (")


def test_a_cut_off_file_is_named(tmp_path):
    whole, part = tmp_path / "whole.safetensors", tmp_path / "part.safetensors"
    save_file({"a": torch.ones(1000)}, whole)
    part.write_bytes(whole.read_bytes()[:-100])
    assert refused(part).startswith(f"{part}: not a whole safetensors file")
    part.write_bytes(b"")
    assert refused(part).startswith(f"{part}: not a whole safetensors file")


def test_a_cut_off_torch_file_is_named(tmp_path):
    whole, part = tmp_path / "whole.pt", tmp_path / "part.pt"
    torch.save({"a": torch.ones(1000)}, whole)
    assert torch.equal(read_tensors(find_files(whole))["a"], torch.ones(1000))
    for length in (0, 3, 500, len(whole.read_bytes()) - 100):
        part.write_bytes(whole.read_bytes()[:length])
        assert refused(part).startswith(f"{part}: not a whole torch file")


@pytest.mark.parametrize(
    "content, said", [(b"\n<!DOCTYPE html>", "a web page"), (b"version https://git-lfs.github.com/spec/v1", "pointer")]
)
@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_what_is_no_weights_is_told_apart(tmp_path, content, said, suffix):
    path = tmp_path / f"model.{suffix}"
    path.write_bytes(content + b" " * 100)
    assert said in refused(path)


def test_torch_files_may_wrap_the_tensors_but_must_hold_some(tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"model": {"a": torch.ones(1)}, "step": 3}, path)
    assert read_tensors(find_files(path)).keys() == {"a"}
    for content in ([torch.ones(1)], {"step": 3}):
        torch.save(content, path)
        assert "holds no dictionary of tensors" in refused(path)


def test_shards_are_joined_and_missed(tmp_path):
    save_file({"a": torch.ones(1)}, tmp_path / "1.safetensors")
    save_file({"b": torch.zeros(1)}, tmp_path / "2.safetensors")
    assert "holds 2 weight files" in refused(tmp_path)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}))
    assert read_tensors(find_files(tmp_path)).keys() == {"a", "b"}
    save_file({"a": torch.zeros(1)}, tmp_path / "2.safetensors")
    assert "tensor a is in another shard too" in refused(tmp_path)
    (tmp_path / "2.safetensors").unlink()
    assert "misses 1 of 2 shards (2.safetensors)" in refused(tmp_path)
    index.write_text("{")
    assert "not readable as JSON" in refused(tmp_path)
    index.write_text("[]")
    assert "holds a list" in refused(tmp_path)


def test_a_folder_without_weights_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert "holds no weights" in refused(tmp_path)
