"""Weight files that are whole, and every way in which one can be broken: one line that names it."""

import json
import os
import pickle
import shutil
import struct
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

import fgq
from fgq.checkpoint.files import find_files
from fgq.checkpoint.tensors import list_tensors, stream_tensors
from fgq.errors import FgqError
from fgq.tensor_files import save_tensors
from fgq.vggt.weights import fingerprint


def refused(path) -> str:
    with pytest.raises(FgqError) as caught:
        fgq.load_model(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def whole(toy_model, tmp_path):
    """A folder with config.json and model.safetensors."""
    toy_model.save(tmp_path / "toy")
    return tmp_path / "toy"


@pytest.fixture
def sharded(toy_model, tmp_path):
    toy_model.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    return tmp_path / "shards"


@pytest.fixture
def change(whole):
    """Rewrites the folder's tensors by a function of {name: tensor}; returns the folder."""

    def rewrite(edit):
        state = load_file(whole / "model.safetensors")
        edit(state)
        save_file(state, whole / "model.safetensors")
        return whole

    return rewrite


@pytest.mark.parametrize("share", [0.0, 0.001, 0.02, 0.5, 0.999])
@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_a_truncated_file_is_named(whole, toy_model, tmp_path, share, suffix):
    source = whole / "model.safetensors"
    if suffix == "pt":
        source = tmp_path / "model.pt"
        torch.save(toy_model.state_dict(), source)
    part = tmp_path / f"part.{suffix}"
    part.write_bytes(source.read_bytes()[: int(share * source.stat().st_size)])
    said = refused(part)
    assert said.startswith(f"{part}: ") and ("is empty" if not share else "not a whole ") in said


@pytest.mark.parametrize(
    "content, said",
    [
        (b"\n<!DOCTYPE html>", "a web page"),
        (b"\xef\xbb\xbf<html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1", "pointer"),
        (b'{"error": "Repository not found"}', "not a whole"),
        (b"\x00" * 64, "not a whole"),
        (struct.pack("<Q", 2) + b"[]", "not a whole"),
    ],
)
@pytest.mark.parametrize("suffix", ["safetensors", "pt", "bin"])
def test_what_is_no_weights_is_told_apart(tmp_path, content, said, suffix):
    path = tmp_path / f"model.{suffix}"
    path.write_bytes(content + b" " * 100)
    assert said in refused(path) and refused(path).startswith(f"{path}: ")


def test_noise_instead_of_weights_is_refused(whole, tmp_path):
    for seed in range(20):
        noise = torch.randint(256, (4096,), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
        for suffix in ("safetensors", "pt"):
            path = tmp_path / f"noise.{suffix}"
            path.write_bytes(noise.numpy().tobytes())
            assert "not a whole" in refused(path)


class Harmful:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return (os.mkdir, (str(self.trace),))


def test_code_in_a_torch_file_is_never_run(tmp_path):
    path, trace = tmp_path / "model.pt", tmp_path / "trace"
    pickle.loads(pickle.dumps(Harmful(trace)))
    assert trace.exists()  # so it would be seen
    trace.rmdir()
    torch.save({"aggregator.camera_token": Harmful(trace)}, path)
    assert f"holds Python objects ({os.mkdir.__module__}.mkdir), which fgq never runs" in refused(path)
    path.write_bytes(pickle.dumps(Harmful(trace), protocol=2))
    assert refused(path).startswith(f"{path}: ")
    assert not trace.exists()


def test_torch_files_may_wrap_the_tensors_but_must_hold_some(tmp_path, toy_model):
    path = tmp_path / "model.pt"
    torch.save({"model": toy_model.state_dict(), "step": 3}, path)
    assert fingerprint(fgq.load_model(path)) == fingerprint(toy_model)
    torch.save(toy_model.state_dict(), path, _use_new_zipfile_serialization=False)
    assert fingerprint(fgq.load_model(path)) == fingerprint(toy_model)
    for content in ([torch.ones(1)], {"step": 3}):
        torch.save(content, path)
        assert "holds no dictionary of tensors" in refused(path)


def test_a_wrong_shape_is_listed_with_both_shapes(change):
    name = "depth_head.norm.weight"
    folder = change(lambda state: state.update({name: torch.zeros(3)}))
    assert f"1 mis-shaped ({name} [3] instead of [32])" in refused(folder)


def test_a_renamed_tensor_is_missing_and_unknown(change):
    name = "camera_head.token_norm.bias"
    folder = change(lambda state: state.update({"camera_head.renamed": state.pop(name)}))
    said = refused(folder)
    assert f"1 missing ({name})" in said and "1 unknown (camera_head.renamed)" in said


def test_integers_instead_of_weights_are_refused(change):
    name = "depth_head.norm.weight"
    folder = change(lambda state: state.update({name: torch.zeros(32, dtype=torch.int32)}))
    assert "1 mis-shaped" in refused(folder) and "torch.int32 instead of torch.float32" in refused(folder)


def test_shards_are_loaded_from_their_folder_and_their_index(sharded, toy_model):
    index = sharded / "model.safetensors.index.json"
    assert fingerprint(fgq.load_model(sharded)) == fingerprint(fgq.load_model(index)) == fingerprint(toy_model)
    one = next(sharded.glob("model-00001*"))
    assert refused(one).startswith(f"{one}: is one of ")


def test_torch_shards_are_loaded(toy_model, tmp_path):
    state = toy_model.state_dict()
    names = list(state)
    shards = {"pytorch_model-1.bin": names[::2], "pytorch_model-2.bin": names[1::2]}
    for shard, held in shards.items():
        torch.save({name: state[name] for name in held}, tmp_path / shard)
    index = {"weight_map": {name: shard for shard, held in shards.items() for name in held}}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    assert fingerprint(fgq.load_model(tmp_path, dtype=torch.bfloat16)) == fingerprint(toy_model.bfloat16())


def test_a_missing_shard_is_named(sharded):
    gone = sorted(sharded.glob("model-*"))[1]
    gone.unlink()
    said = refused(sharded)
    assert said.startswith(f"{sharded}: ") and f"1 are not there ({gone.name})" in said


def test_an_index_that_promises_too_much_is_refused(sharded):
    index = sharded / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    shards = sorted(set(content["weight_map"].values()))
    name = next(name for name, shard in content["weight_map"].items() if shard == shards[0])
    content["weight_map"][name] = shards[1]
    index.write_text(json.dumps(content))
    assert f"{sharded / shards[1]}: holds " in refused(sharded) and f"but not {name} (of 1 that" in refused(sharded)


def test_a_tensor_in_two_shards_is_refused(sharded):
    first, second = sorted(sharded.glob("model-*"))[:2]
    (name, *_), state = load_file(first), load_file(second)
    save_file(state | {name: load_file(first)[name]}, second)
    assert f"tensor {name} is in another shard too" in refused(sharded)


@pytest.mark.parametrize(
    "content, said",
    [
        ("{", "not readable as JSON"),
        ("[]", "holds a list"),
        ("{}", "lists no shard"),
        ('{"weight_map": []}', "lists no shard"),
        ('{"weight_map": {"a": "../x.safetensors"}}', "is no file name"),
        ('{"weight_map": {"a": 3}}', "is no file name"),
    ],
)
def test_a_broken_index_is_named(sharded, content, said):
    (sharded / "model.safetensors.index.json").write_text(content)
    assert said in refused(sharded) and "model.safetensors.index.json" in refused(sharded)


@pytest.mark.parametrize(
    "edit, said",
    [
        (lambda text: text[:-5], "config.json: not readable as JSON"),
        (lambda text: "<html>", "config.json: not readable as JSON"),
        (lambda text: text.replace('"depth"', '"deepness"'), "config.json has unknown fields (deepness)"),
        (lambda text: text.replace('"depth": 2', '"depth": 5'), "config.json says depth 5, but the tensors ("),
    ],
)
def test_a_broken_config_is_named(whole, edit, said):
    path = whole / "config.json"
    path.write_text(edit(path.read_text()))
    assert said in refused(whole)
    assert said in refused(whole / "model.safetensors")  # a file alone is read with the config beside it


def test_a_folder_is_not_a_file_and_a_file_may_be_unreadable(tmp_path, whole):
    shutil.rmtree(whole)
    whole.mkdir()
    assert "holds no weights" in refused(whole)
    (whole / "model.safetensors").mkdir()
    assert refused(whole).startswith(f"{whole}")


@pytest.mark.parametrize("number", ["99999999", "9" * 5000, "\u00b2"])
def test_a_block_number_beyond_all_measure_neither_hangs_nor_breaks(change, number):
    folder = change(lambda state: state.update({f"aggregator.frame_blocks.{number}.x": torch.zeros(1)}))
    assert refused(folder)
    (folder / "config.json").unlink()
    assert "tensors are too few" in refused(folder) or "1 unknown" in refused(folder)


def test_a_config_beyond_all_measure_is_refused_before_it_is_built(tmp_path):
    save_file({"aggregator.camera_token": torch.zeros(1, 2, 1, 16)}, tmp_path / "model.safetensors")
    sizes = dict(img_size=16, patch_size=8, num_heads=2, encoder_depth=1, num_register_tokens=2, camera_trunk_depth=1)
    sizes |= dict(depth=10**9, dpt_features=8, dpt_out_channels=[4, 8, 8, 8], dpt_layers=[0, 0, 1, 1])
    (tmp_path / "config.json").write_text(json.dumps(sizes))
    assert "depth is 1000000000, for which 1 tensors are too few" in refused(tmp_path)


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_values_are_the_same_however_often_a_file_is_mapped_anew(tmp_path, monkeypatch, suffix):
    state = {f"t{i}": torch.randn(10, i + 1, generator=torch.Generator().manual_seed(i)) for i in range(20)}
    path = tmp_path / f"model.{suffix}"
    save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    monkeypatch.setattr("fgq.checkpoint.tensors.COPIED_PER_MAPPING", 200)
    files = find_files(path)
    half = dict(stream_tensors(files, lambda tensor: tensor.bfloat16(), left_out=["t3"]))
    same = dict(stream_tensors(files, lambda tensor: tensor))
    assert half.keys() == state.keys() - {"t3"} and same.keys() == state.keys()
    for name, tensor in state.items():
        assert torch.equal(same[name], tensor)
        assert name == "t3" or torch.equal(half[name], tensor.bfloat16())
    listing = list_tensors(files)
    assert {name: tensor.shape for name, tensor in listing.items()} == {name: t.shape for name, t in state.items()}
    assert all(tensor.is_meta for tensor in listing.values())


READ_A_FILE = """
import sys
from pathlib import Path
from fgq.checkpoint.files import find_files
from fgq.checkpoint.tensors import stream_tensors
from fgq.memory.peak import PeakBytes
from fgq.tensor_files import aligned

files, written = (find_files(Path(path)) for path in sys.argv[1:])
with PeakBytes() as peak:
    compared = dict(stream_tensors(written, lambda tensor: tensor))
print(len(compared), peak.bytes)
with PeakBytes() as peak:
    mapped = dict(stream_tensors(files, lambda tensor: tensor))
print(len(mapped), peak.bytes)
del mapped
with PeakBytes() as peak:
    half = dict(stream_tensors(files, lambda tensor: tensor.bfloat16()))
print(sum((tensor == 1).all().item() for tensor in half.values()), peak.bytes)
del half
with PeakBytes() as peak:
    whole = dict(stream_tensors(files, aligned))
print(sum((tensor == 1).all().item() for tensor in whole.values()), peak.bytes)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process' peak")
@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_a_converted_or_aligned_file_is_never_in_memory_as_a_whole(tmp_path, suffix):
    path, count = tmp_path / f"model.{suffix}", 64
    state = {f"t{i}": torch.ones(1 << 20) for i in range(count)}
    save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    if suffix == "safetensors":
        (header,) = struct.unpack("<Q", path.read_bytes()[:8])
        assert (8 + header) % 64  # so that every tensor has to be copied
    size, written = count << 22, tmp_path / "written.safetensors"
    save_tensors(written, {f"t{i}": torch.ones(1 << 20) for i in range(16)}, {})
    # in a process of its own, whose heap holds nothing that others have left
    command = [sys.executable, "-c", READ_A_FILE, path, written]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    compared, as_compared, mapped, as_mapped, converted, as_half, alike, as_aligned = map(int, answer.stdout.split())
    assert compared == 16 and as_compared < 3e7 < written.stat().st_size  # checksums are not read through the mapping
    assert mapped == count and as_mapped < 2e7  # nothing has been looked at
    assert converted == count and 0.5 <= as_half / size < 0.8  # both copies as a whole would take 1.5
    assert alike == count and as_aligned / size < 1.4  # 2
