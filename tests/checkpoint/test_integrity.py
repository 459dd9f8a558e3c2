"""A saved model is what was saved, or it is refused: damage, edited descriptions, a save that was cut short."""

import json
import os
import random
from contextlib import suppress
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

import fgq
from fgq.errors import FgqError
from fgq.vggt.weights import fingerprint


def refused(path, **options) -> str:
    with pytest.raises(FgqError) as caught:
        fgq.load_model(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def small(toy_model):
    return fgq.quantize(toy_model, recipe="rtn", progress=False)


def flip(path, byte: int, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[byte] ^= 1 << bit
    path.write_bytes(content)


def test_a_flipped_bit_anywhere_in_the_file_is_refused(small, tmp_path):
    small.save(tmp_path)
    weights = tmp_path / "model.safetensors"
    size = weights.stat().st_size
    places = random.Random(0)
    header = 8 + int.from_bytes(weights.read_bytes()[:8], "little")
    for byte in (
        *range(0, 9),
        *(places.randrange(header) for _ in range(20)),
        *places.sample(range(size), 20),
        size - 1,
    ):
        bit = places.randrange(8)
        flip(weights, byte, bit)
        assert refused(tmp_path).startswith((f"{weights}: ", f"{tmp_path}: ")), byte
        flip(weights, byte, bit)
    assert fingerprint(fgq.load_model(tmp_path)) == fingerprint(small)


def test_a_damaged_tensor_is_named_unless_told_not_to_look(toy_model, tmp_path):
    toy_model.save(tmp_path)
    weights = tmp_path / "model.safetensors"
    whole = {name: tensor.clone() for name, tensor in load_file(weights).items()}  # not a part of the file
    flip(weights, weights.stat().st_size - 1)
    (name,) = [name for name, tensor in load_file(weights).items() if not tensor.equal(whole[name])]
    assert refused(tmp_path).startswith(f"{weights}: tensor {name} is not as it was written (checksum)")
    assert "checksum" in refused(tmp_path, dtype="bfloat16")  # of what was written, not of what becomes of it
    assert fingerprint(fgq.load_model(tmp_path, verify=False)) != fingerprint(toy_model)


@pytest.mark.parametrize(
    "name, edit",
    [
        ("quantization.json", lambda d: d["blocks"]["F0"]["activation"].update(bits=8)),
        ("quantization.json", lambda d: d["calibration"]["recipe"].update(weight_bits=3)),
        ("quantization.json", lambda d: d.update(model="other")),
        ("config.json", lambda d: d.update(dpt_layers=[0, 1, 1, 1])),
    ],
)
def test_a_description_edited_under_the_weights_is_refused(small, tmp_path, name, edit):
    small.save(tmp_path)
    path = tmp_path / name
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {}, sort_keys=True))  # written in another way it still says the same
    assert fingerprint(fgq.load_model(tmp_path)) == fingerprint(small)
    edit(content)
    path.write_text(json.dumps(content))
    for place in (tmp_path, tmp_path / "model.safetensors"):
        assert f"{name} beside model.safetensors is of another model or was changed" in refused(place)
    path.unlink()
    assert fingerprint(fgq.load_model(tmp_path)) == fingerprint(small)


def test_the_weights_file_alone_is_the_model(small, build_toy, tmp_path):
    small.save(tmp_path / "small")
    alone = (tmp_path / "small" / "model.safetensors").rename(tmp_path / "alone.safetensors")
    loaded = fgq.load_model(alone)
    assert fingerprint(loaded) == fingerprint(small) and loaded.quantization.recipe == small.quantization.recipe
    build_toy().save(tmp_path / "full")
    (tmp_path / "small" / "quantization.json").rename(tmp_path / "full" / "quantization.json")
    assert "missing" in refused(tmp_path / "full")


def test_a_model_of_earlier_versions_which_states_nothing_itself_is_loaded(small, tmp_path):
    small.save(tmp_path)
    weights = tmp_path / "model.safetensors"
    save_file(load_file(weights), weights, metadata={"format": "pt"})
    loaded = fgq.load_model(tmp_path)
    assert fingerprint(loaded) == fingerprint(small) and loaded.quantization == small.quantization


class Stopped(BaseException):
    """Stands for a process that ends here."""


class Stopper:
    """In place of a function: ends the process before its call number `stop // 2`, or, where `stop` is odd, after."""

    def __init__(self, function, stop: int):
        self.function, self.stop, self.calls = function, stop, 0

    def __call__(self, *arguments, **options):
        if self.stop == 2 * self.calls:
            raise Stopped
        self.function(*arguments, **options)
        self.calls += 1
        if self.stop == 2 * self.calls - 1:
            raise Stopped


@pytest.mark.parametrize(
    "owner, act, old", [(os, "replace", "saved"), (os, "replace", "shards"), (Path, "unlink", "saved")]
)
def test_a_save_over_another_model_that_is_cut_short_leaves_one_of_them(
    build_toy, tmp_path, monkeypatch, owner, act, old
):
    """Stopped before or after each file gets its name or goes."""
    models = {bits: fgq.quantize(build_toy(), recipe="rtn", weight_bits=bits, progress=False) for bits in (3, 4)}
    found = []
    for stop in range(20):
        folder = tmp_path / str(stop)
        models[3].save(folder) if old == "saved" else models[3].save_pretrained(folder, max_shard_size="20KB")
        stopper = Stopper(getattr(owner, act), stop)
        with monkeypatch.context() as patch, suppress(Stopped):
            patch.setattr(owner, act, lambda *arguments, here=stopper, **options: here(*arguments, **options))
            models[4].save(folder)
        try:
            loaded = fgq.load_model(folder)
        except FgqError as error:  # weights that state nothing themselves are no pair with the files beside them
            assert old == "shards" and "quantization.json beside model.safetensors is of another model" in str(error)
            continue
        found.append(loaded.quantization.recipe.weight_bits)
        assert fingerprint(loaded) == fingerprint(models[found[-1]])
        if stop > 2 * stopper.calls:  # it ran to its end
            break
    assert found == sorted(found) and found[0] == 3 and found[-1] == 4 and stop > 4
