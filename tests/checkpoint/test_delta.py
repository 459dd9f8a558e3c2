"""A delta and its base are the model; a delta and another base, or none, are refused in words."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import fgq
from fgq.checkpoint import save_delta
from fgq.checkpoint.files import find_files
from fgq.checkpoint.load import outline
from fgq.errors import FgqError
from fgq.quant import pack_layers
from fgq.tensor_files import read_tensors, save_tensors
from fgq.vggt.weights import fingerprint

TRACKER = "track_head.tracker.weight"


@pytest.fixture
def base(toy_model, tmp_path):
    """The folder of a full-precision model as its makers published it: with a head that nothing here uses."""
    folder = tmp_path / "published"
    folder.mkdir()
    save_file(toy_model.state_dict() | {TRACKER: torch.ones(3)}, folder / "model.safetensors")
    return folder


@pytest.fixture
def small(base):
    with pytest.warns(match="track head"):
        return fgq.quantize(fgq.load_model(base), recipe="rtn", progress=False)


def refused(path, **options) -> str:
    with pytest.raises(FgqError) as caught:
        fgq.load_model(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("shard_bytes", [10**9, 20_000])
def test_a_delta_has_nothing_of_its_base_and_both_are_the_model(small, base, tmp_path, shard_bytes):
    save_delta(small, base, tmp_path / "delta", shard_bytes=shard_bytes)
    files = find_files(tmp_path / "delta")
    stored = {name for path in files.weights for name in load_file(path)}
    ours, theirs = small.state_dict(), load_file(base / "model.safetensors")
    assert not [name for name in stored & ours.keys() & theirs.keys() if torch.equal(ours[name], theirs[name])]
    loaded = fgq.load_model(tmp_path / "delta", base=base)
    assert fingerprint(loaded) == fingerprint(pack_layers(small)) and loaded.quantization == small.quantization
    assert loaded.name_or_path == "published"
    loaded.save(tmp_path / "whole")
    assert fingerprint(fgq.load_model(tmp_path / "whole")) == fingerprint(loaded)
    assert fingerprint(outline(files)[0].to_empty(device="cpu")) and outline(files)[0].state_dict().keys() == (
        loaded.state_dict().keys()
    )


@pytest.mark.parametrize("form", ["torch", "shards", "no track head"])
def test_it_does_not_matter_how_the_base_is_stored(small, base, toy_model, tmp_path, form):
    save_delta(small, base, tmp_path / "delta")
    other = tmp_path / "other"
    if form == "torch":
        other.mkdir()
        torch.save({"model": toy_model.state_dict()}, other / "model.pt")
    elif form == "shards":
        toy_model.save_pretrained(other, max_shard_size="20KB")
    else:
        toy_model.save(other)
    assert fingerprint(fgq.load_model(tmp_path / "delta", base=other)) == fingerprint(pack_layers(small))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_tensors_that_only_changed_their_type_are_the_base_s_too(base, tmp_path, dtype):
    with pytest.warns(match="track head"):
        small = fgq.quantize(fgq.load_model(base, dtype=dtype), recipe="rtn", progress=False)
    about = save_delta(small, base, tmp_path / "delta")
    assert "depth_head.norm.weight" in about.inherited and "aggregator.patch_embed.pos_embed" in about.inherited
    loaded = fgq.load_model(tmp_path / "delta", base=base)
    assert loaded.dtype == getattr(torch, dtype) and fingerprint(loaded) == fingerprint(pack_layers(small))
    assert fgq.load_model(tmp_path / "delta", dtype=torch.float32, base=base).dtype == torch.float32


def test_vggt_tiny_is_a_base_by_name(tmp_path):
    small = fgq.quantize(fgq.load_model("vggt-tiny"), recipe="rtn", progress=False)
    about = save_delta(small, "vggt-tiny", tmp_path)
    assert about.name == "vggt-tiny"
    assert fingerprint(fgq.load_model(tmp_path, base="vggt-tiny")) == fingerprint(pack_layers(small))


def test_another_base_is_refused_by_its_first_tensor_that_differs(small, base, build_toy, tmp_path):
    save_delta(small, base, tmp_path / "delta")
    content = load_file(base / "model.safetensors")
    remedy = f"{tmp_path / 'delta'} was made from published: give the same download of it"
    changed = dict(content)
    for name in ("aggregator.frame_blocks.0.attn.qkv.weight", "camera_head.token_norm.bias"):  # one that is not taken
        changed[name] = content[name] + 1
        save_file(changed, tmp_path / "changed.safetensors")
        differs = "aggregator.frame_blocks.0.attn.qkv.weight"
        told = f"{tmp_path / 'changed.safetensors'}: tensor {differs} is another one; {remedy}"
        assert refused(tmp_path / "delta", base=tmp_path / "changed.safetensors") == told
    rounded = {name: tensor.bfloat16() for name, tensor in content.items()}
    save_file(rounded, tmp_path / "rounded.safetensors")
    assert "is another one" in refused(tmp_path / "delta", base=tmp_path / "rounded.safetensors")
    del content["camera_head.token_norm.bias"]
    save_file(content, tmp_path / "less.safetensors")
    told = f"{tmp_path / 'less.safetensors'}: has no tensor camera_head.token_norm.bias; {remedy}"
    assert refused(tmp_path / "delta", base=tmp_path / "less.safetensors") == told


def test_a_delta_alone_and_a_whole_model_with_a_base_are_refused(small, base, tmp_path):
    save_delta(small, base, tmp_path / "delta")
    assert "is a delta, which lacks" in refused(tmp_path / "delta")
    assert "of published: give your own download of it as base" in refused(tmp_path / "delta")
    small.save(tmp_path / "whole", packed=True)
    assert "is a whole model, no delta: leave base away" in refused(tmp_path / "whole", base=base)


def test_what_makes_no_delta_is_refused(small, base, toy_model, tmp_path):
    with pytest.raises(FgqError, match="nothing of this model is quantized"):
        save_delta(toy_model, base, tmp_path / "delta")
    small.save(tmp_path / "small")
    with pytest.raises(FgqError, match="is quantized itself: give the full-precision model as base"):
        save_delta(small, tmp_path / "small", tmp_path / "delta")
    assert not (tmp_path / "delta").exists()


@pytest.mark.parametrize(
    "stated",
    [
        {},
        {"name": "x", "checksums": [], "inherited": {}},
        {"name": "x", "checksums": {}, "inherited": {"a": ["F32", [1]]}},
        *(
            {"name": "x", "checksums": {"a": ""}, "inherited": {"a": told}}
            for told in ("F32", ["F33", [1]], ["F32", "ab"])
        ),
    ],
)
def test_a_statement_that_cannot_be_read_is_refused(small, base, tmp_path, stated):
    small.save(tmp_path / "small")
    weights = tmp_path / "small" / "model.safetensors"
    tensors, about = read_tensors(weights)
    save_tensors(weights, tensors, about | {"base": json.dumps(stated)})
    assert "what it states of its base cannot be read" in refused(tmp_path / "small", base=base)
