"""Wherever a tensor lies in its file, it comes to lie aligned; then outputs are equal to the bit on one machine."""

import json
import struct
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from safetensors.torch import load_file, save_file

import fgq
from fgq.data.scene import Scene
from fgq.errors import FgqError
from fgq.tensor_files import (
    ABOUT_CHECKSUM,
    ALIGNMENT,
    CHECKSUMS,
    DTYPES,
    DamagedFile,
    about_checksum,
    aligned,
    read_tensors,
    save_tensors,
)
from tests.misaligned import MisalignedFile, misaligned

OUTPUTS = ("pose_enc", "depth", "depth_conf", "world_points", "world_points_conf")
LENGTHS = (0, 8, 24, 40)  # of a metadata entry, in bytes


@pytest.fixture
def off_by_40(monkeypatch):
    """Every tensor of a safetensors file arrives 40 bytes off."""
    for module in ("fgq.tensor_files", "fgq.checkpoint.tensors"):
        monkeypatch.setattr(f"{module}.safe_open", MisalignedFile)


def residues(path) -> dict[str, int]:
    """Where each tensor's bytes start in the file, less multiples of 64."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    del header["__metadata__"]
    return {name: (8 + length + entry["data_offsets"][0]) % ALIGNMENT for name, entry in header.items()}


def assert_aligned(tensors) -> None:
    assert not [name for name, tensor in tensors.items() if tensor.data_ptr() % ALIGNMENT]


def assert_same_outputs(loaded, model, images) -> None:
    with torch.no_grad():
        ours, truth = loaded(images), model(images)
    assert all(torch.equal(ours[name], truth[name]) for name in OUTPUTS)


def test_what_lies_aligned_is_not_copied():
    for offset in range(0, ALIGNMENT, 8):
        tensor = misaligned(torch.arange(24.0).view(4, 6), offset)
        assert (aligned(tensor) is tensor) == (offset == 0)
        assert torch.equal(aligned(tensor), tensor) and aligned(tensor).data_ptr() % ALIGNMENT == 0
        assert aligned(tensor.t()).data_ptr() % ALIGNMENT == 0


def test_a_model_computes_the_same_bits_wherever_its_tensors_lie_in_the_file(toy_model, toy_images, tmp_path):
    met = set()
    for length in LENGTHS:
        path = tmp_path / str(length) / "model.safetensors"
        path.parent.mkdir()
        save_file(toy_model.state_dict(), path, metadata={"format": "pt", "longer": "x" * length})
        met |= set(residues(path).values())
        loaded = fgq.load_model(path)
        assert_aligned(loaded.state_dict())
        assert_same_outputs(loaded, toy_model, toy_images)
        assert_aligned(read_tensors(path)[0])
        toy_model.config.save_pretrained(path.parent)
        assert_aligned(type(toy_model).from_pretrained(path.parent).state_dict())
    assert len(met) >= 4


@pytest.mark.parametrize("recipe", ["full precision", "rtn"])
def test_a_saved_model_computes_the_same_bits_from_40_bytes_off(toy_model, toy_images, tmp_path, off_by_40, recipe):
    model = toy_model if recipe == "full precision" else fgq.quantize(toy_model, recipe=recipe, progress=False)
    model.save(tmp_path)
    loaded = fgq.load_model(tmp_path)
    assert_aligned(loaded.state_dict())
    assert_same_outputs(loaded, model, toy_images)


@pytest.mark.filterwarnings("ignore:.*so its start was kept")
def test_blocks_from_a_folder_or_a_worker_lie_aligned(build_toy, toy_images, tmp_path, off_by_40):
    model = build_toy(embed_dim=32)
    scenes = [Scene(f"s{i}", clip) for i, clip in enumerate(toy_images)]
    options = dict(recipe="flatquant", epochs=1, warmup_steps=0, progress=False)
    whole = fgq.quantize(model, scenes, resume_dir=tmp_path, **options)
    resumed = fgq.quantize(model, scenes, resume_dir=tmp_path, **options)
    with ThreadPoolExecutor(1) as executor:
        spread = fgq.quantize(model, scenes, executor=executor, **options)
    for small in (resumed, spread):
        assert_aligned(small.state_dict())
        assert_same_outputs(small, whole, toy_images)


def test_what_is_written_is_safetensors_equal_for_equal_content_and_aligned_where_sizes_allow(tmp_path):
    generator = torch.Generator().manual_seed(0)
    tensors = {f"{kind}": torch.randint(0, 2, (3, 5), generator=generator).to(kind) for kind in DTYPES}
    tensors |= {
        "scalar": torch.tensor(2.5),
        "none": torch.empty(0, 4),
        "ä\n": torch.rand(4, 16),
        "z": torch.rand(9, 32),
    }
    tensors["turned"] = torch.rand(6, 4, generator=generator).t()
    metadata = {f"k{i}": "ü" * i for i in range(6)}
    save_tensors(tmp_path / "a", tensors, metadata)
    save_tensors(tmp_path / "b", dict(reversed(tensors.items())), dict(reversed(metadata.items())))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    for found in (load_file(tmp_path / "a"), read_tensors(tmp_path / "a")[0]):
        assert found.keys() == tensors.keys()
        assert all(torch.equal(found[key], tensors[key]) and found[key].dtype == tensors[key].dtype for key in tensors)
    assert metadata.items() <= read_tensors(tmp_path / "a")[1].items()
    starts = residues(tmp_path / "a")
    assert starts["ä\n"] == starts["z"] == 0
    with pytest.raises(FgqError, match="tensor odd is of type torch.complex64"):
        save_tensors(tmp_path / "c", {"odd": torch.zeros(2, dtype=torch.complex64)}, {})
    assert not (tmp_path / "c").exists()


def test_a_flipped_bit_in_any_byte_of_the_header_is_seen(tmp_path):
    """Also in the name of a tensor that a reader can do without."""
    path = tmp_path / "table.safetensors"
    save_tensors(path, {"values": torch.rand(2, 3), "by_kind": torch.rand(2, 16)}, {"format": "table"})
    content = path.read_bytes()
    for place in range(8 + struct.unpack("<Q", content[:8])[0]):
        harmed = bytearray(content)
        harmed[place] ^= 1 << place % 8
        path.write_bytes(harmed)
        with pytest.raises(FgqError):
            read_tensors(path, ["values"])
    path.write_bytes(content.replace(b'"by_kind":{', b'"by_kinD":{'))
    with pytest.raises(DamagedFile, match="its tensors' names are not as they were written"):
        read_tensors(path, ["values"])


@pytest.mark.parametrize("checksums", ["[1", "[1]", "3", "[" * 9999, "9" * 5000])
def test_checksums_that_are_none_are_told(tmp_path, checksums):
    about = {CHECKSUMS: checksums}
    path = tmp_path / "table.safetensors"
    save_file({"values": torch.zeros(2)}, path, metadata=about | {ABOUT_CHECKSUM: about_checksum(about)})
    with pytest.raises(DamagedFile, match="its checksums cannot be read"):
        read_tensors(path)
