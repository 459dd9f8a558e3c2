import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import fgq
from fgq.errors import FgqError
from fgq.memory.random_weights import public_shapes, read_shapes, write_random_weights
from fgq.vggt import VGGTConfig

PUBLIC = Path(__file__).parents[1] / "data" / "vggt_1b_state_dict.json"


def test_public_shapes_are_the_public_ones_without_the_track_head():
    public = {name: shape for name, shape in read_shapes(PUBLIC).items() if not name.startswith("track_head.")}
    assert public_shapes(VGGTConfig()) == public and len(read_shapes(PUBLIC)) == 1797


def test_what_is_written_loads_and_predicts(toy_model, toy_images, tmp_path):
    shapes = public_shapes(toy_model.config) | {"track_head.fmap.weight": (3, 2)}
    path = write_random_weights(tmp_path, shapes, seed=1)
    assert {name: tuple(tensor.shape) for name, tensor in load_file(path).items()} == shapes
    with pytest.warns(UserWarning, match="1 tensors of the track head"):
        model = fgq.load_model(tmp_path)
    assert model.config.to_dict() == toy_model.config.to_dict() | {"dpt_layers": model.config.dpt_layers}
    with torch.no_grad():
        predictions = model(toy_images)
    assert torch.isfinite(predictions.depth).all() and predictions.depth.std() > 0


def test_values_follow_the_seed_alone(tmp_path):
    shapes = {"b.norm.weight": (64,), "a.weight": (8, 8)}
    one, again, other = (
        load_file(write_random_weights(tmp_path / str(run), shapes, seed)) for run, seed in enumerate((1, 1, 2))
    )
    for name in shapes:
        assert torch.equal(one[name], again[name]) and not torch.equal(one[name], other[name])
    assert abs(one["b.norm.weight"].mean() - 1) < 0.02 and abs(one["a.weight"].mean()) < 0.02


def test_nothing_is_overwritten_and_bad_shapes_are_refused(tmp_path):
    path = write_random_weights(tmp_path / "new", {"a": (1,)})
    assert [file.name for file in tmp_path.iterdir()] == ["new"]
    assert path.stat().st_mode & 0o777 == (tmp_path / "new").stat().st_mode & 0o666
    with pytest.raises(FgqError, match="new: is not empty"):
        write_random_weights(tmp_path / "new", {"a": (1,)})
    for content in ("[]", "{", json.dumps({"a": "x"}), json.dumps({"a": 3})):
        (tmp_path / "shapes.json").write_text(content)
        with pytest.raises(FgqError, match="shapes.json: not a JSON object of tensor names"):
            read_shapes(tmp_path / "shapes.json")
