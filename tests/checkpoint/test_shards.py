"""Models in several files: complete, or refused in words; and never half of an old one and half of a new one."""

import json
import os
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

import fgq
from fgq.errors import FgqError
from fgq.shards import own_shards
from fgq.vggt.saved import INDEX_FILE
from fgq.vggt.weights import fingerprint
from tests.checkpoint.test_integrity import Stopped, Stopper, flip

BYTES = 120_000  # of a shard: two files


@pytest.fixture
def small(toy_model):
    return fgq.quantize(toy_model, recipe="rtn", progress=False)


def shards(folder) -> list[Path]:
    return sorted(folder.glob("model-*-of-*.safetensors"))


def refused(path) -> str:
    with pytest.raises(FgqError) as caught:
        fgq.load_model(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_no_file_is_larger_than_told_and_all_together_are_the_model(small, tmp_path):
    small.save(tmp_path, packed=True, shard_bytes=BYTES)
    files = shards(tmp_path)
    assert len(files) > 1 and not (tmp_path / "model.safetensors").exists()
    index = json.loads((tmp_path / INDEX_FILE).read_text())
    assert {path.name for path in files} == set(index["weight_map"].values()) == set(index["metadata"]["shards"])
    whole = fgq.load_model(tmp_path)
    largest = max(tensor.nbytes for tensor in whole.state_dict().values())
    size = {path.name: 0 for path in files}
    for name, tensor in whole.state_dict().items():
        size[index["weight_map"][name]] += tensor.nbytes
    assert max(size.values()) <= max(BYTES, largest) and sum(size.values()) == index["metadata"]["total_size"]
    small.save(tmp_path / "one", packed=True)
    assert fingerprint(fgq.load_model(tmp_path / "one")) == fingerprint(whole)
    for name in ("config.json", "quantization.json"):  # which are copies
        (tmp_path / name).unlink()
    assert fingerprint(fgq.load_model(tmp_path)) == fingerprint(whole)


def test_a_missing_a_shortened_a_damaged_and_a_foreign_shard_are_named(small, build_toy, tmp_path):
    folder, other = tmp_path / "a", tmp_path / "b"
    small.save(folder, packed=True, shard_bytes=BYTES)
    fgq.quantize(build_toy(1), recipe="rtn", progress=False).save(other, packed=True, shard_bytes=BYTES)
    path = shards(folder)[1]
    content = path.read_bytes()
    for change, said in (
        (lambda: path.unlink(), f"{folder}: {INDEX_FILE} names {len(shards(folder))} shards, of which 1 are not there"),
        (lambda: path.write_bytes(content[:-9]), f"{path}: not a whole safetensors file"),
        (lambda: flip(path, len(content) - 9), f"{path}: tensor "),
        (lambda: flip(path, 400), f"{path}: "),
        (lambda: path.write_bytes(shards(other)[1].read_bytes()), f"{path}: is not the file that {INDEX_FILE} means"),
    ):
        change()
        assert refused(folder).startswith(said)
        path.write_bytes(content)
    assert fgq.load_model(folder).quantization == small.quantization


def test_files_of_no_bytes_are_refused(small, tmp_path):
    with pytest.raises(FgqError, match="files of at most 0 bytes"):
        small.save(tmp_path, shard_bytes=0)


@pytest.mark.parametrize(
    "owner, act, before, after",
    [
        (os, "replace", BYTES, BYTES),
        (os, "replace", 10**9, BYTES),
        (os, "replace", BYTES, 10**9),
        (Path, "unlink", BYTES, BYTES),
        (Path, "unlink", 10**9, BYTES),
    ],
)
def test_a_save_that_is_cut_short_leaves_the_old_or_the_new_model(
    build_toy, tmp_path, monkeypatch, owner, act, before, after
):
    """Stopped before or after each file gets its name or goes."""
    models = [fgq.quantize(build_toy(), recipe="rtn", weight_bits=bits, progress=False) for bits in (3, 4)]
    models[0].save(tmp_path / "old", packed=True, shard_bytes=before)
    found = []
    for stop in range(40):
        folder = tmp_path / str(stop)
        shutil.copytree(tmp_path / "old", folder)
        stopper = Stopper(getattr(owner, act), stop)
        with monkeypatch.context() as patch, suppress(Stopped):
            patch.setattr(owner, act, lambda *arguments, here=stopper, **options: here(*arguments, **options))
            models[1].save(folder, packed=True, shard_bytes=after)
        found.append(fgq.load_model(folder, verify=False).quantization.recipe.weight_bits)
        if stop > 2 * stopper.calls:  # it ran to its end
            break
    assert found == sorted(found) and found[0] == 3 and found[-1] == 4 and stop > 3
    named = own_shards(folder / INDEX_FILE)
    assert {path.name for path in shards(folder)} == set(named) and bool(named) == (after == BYTES)
