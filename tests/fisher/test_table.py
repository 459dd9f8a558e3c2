import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from fgq.data import Scene
from fgq.errors import FgqError
from fgq.fisher import FisherTable
from fgq.fisher.scene_cache import SceneCache
from fgq.tensor_files import read_tensors
from fgq.vggt.weights import fingerprint


@pytest.fixture
def table(toy_model) -> FisherTable:
    config = toy_model.config
    values = torch.rand(3, config.num_blocks, config.embed_dim, generator=torch.Generator().manual_seed(5))
    return FisherTable(
        values=values,
        tasks=("camera", "depth", "points"),
        block_names=tuple(config.block_names),
        estimator="sum_of_outputs",
        seed=7,
        scene_names=("one", "two"),
        model_hash=fingerprint(toy_model),
    )


def test_what_is_saved_is_loaded(table, tmp_path):
    path = tmp_path / "new" / "fisher.safetensors"
    table.save(path)
    loaded = FisherTable.load(path)
    assert torch.equal(loaded.values, table.values)
    assert replace(loaded, values=table.values) == table
    assert {"fgq", "torch"} <= loaded.versions.keys()


def test_weights_have_mean_one_before_the_floor(table):
    weights = table.calibration_weights(floor=0.0)
    torch.testing.assert_close(weights.mean(1), torch.ones(len(table.block_names)))
    assert table.calibration_weights(floor=0.9).min() == pytest.approx(0.9)


def test_one_tasks_weights_are_that_tasks_profile(table):
    depth = table.values[1]
    torch.testing.assert_close(
        table.calibration_weights({"depth": 3.0}, floor=0.0), depth / depth.mean(1, keepdim=True)
    )


def test_a_task_or_block_without_influence_is_named(table):
    values = table.values.clone()
    values[2] = 0
    with pytest.raises(FgqError, match="task points is zero everywhere"):
        replace(table, values=values).calibration_weights()
    values = table.values.clone()
    values[:, 1] = 0
    with pytest.raises(FgqError, match="block G0 is zero"):
        replace(table, values=values).calibration_weights()


def test_values_that_cannot_be_are_refused(table):
    with pytest.raises(FgqError, match=r"shape \[3, 3, 16\], expected \[3, 4, channels\]"):
        replace(table, values=table.values[:, :3])
    for bad in (torch.nan, torch.inf, -1.0):
        values = table.values.clone()
        values[1, 2, 3] = bad
        with pytest.raises(FgqError, match="task depth, block F1, channel 3"):
            replace(table, values=values)


def test_a_table_matches_its_own_model_alone(table, toy_model, build_toy):
    table.check_matches(toy_model)
    with pytest.raises(FgqError, match="other weights"):
        table.check_matches(build_toy(seed=1))
    replace(table, model_hash="").check_matches(build_toy(seed=1))
    with pytest.raises(FgqError, match="4 blocks of 16 channels, the model 6 of 16"):
        table.check_matches(build_toy(depth=3, dpt_layers=None))


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FgqError, match="no such Fisher table"):
        FisherTable.load(tmp_path / "none")
    text, tensors = tmp_path / "text", tmp_path / "tensors"
    text.write_text("not a table")
    with pytest.raises(FgqError, match="not a whole safetensors file"):
        FisherTable.load(text)
    save_file({"values": torch.ones(1, 1, 1)}, tensors)
    with pytest.raises(FgqError, match="not a Fisher table"):
        FisherTable.load(tensors)


@pytest.mark.parametrize(
    "tensors, about, said",
    [
        ({}, None, "'fisher'"),
        ({}, "[" * 99_999, "recursion"),
        ({}, '{"seed": ' + "9" * 5000 + "}", "Exceeds the limit"),
        ({}, [], "list"),
        ({}, {"tasks": "abc"}, "its tasks is no list"),
        ({}, {"block_names": [1, 2, 3, 4]}, "its block_names are no names"),
        ({}, {"seed": "x"}, "its seed is no int"),
        ({}, {"estimator": 5}, "its estimator is no str"),
        ({}, {"more": 5}, "more"),
        ({"values": None}, {}, "values"),
        ({"values": torch.ones(3, 4, 16, dtype=torch.int64)}, {}, "its values are torch.int64"),
        ({"values": torch.ones(3, 4, 16, dtype=torch.bfloat16)}, {}, "its values are torch.bfloat16"),
        ({"values": torch.ones(3, 16)}, {}, r"its values are torch.float32 \[3, 16\]"),
        ({"by_kind": torch.ones(3, 4, 16)}, {}, r"its by_kind are torch.float32 \[3, 4, 16\]"),
        ({"standard_error": torch.ones(3, 4, 1)}, {}, r"its standard_error are torch.float32 \[3, 4, 1\]"),
    ],
)
def test_a_table_with_foreign_content_is_one_line(table, tmp_path, tensors, about, said):
    path = tmp_path / "fisher.safetensors"
    table.save(path)
    state, metadata = read_tensors(path)
    state = {name: tensor for name, tensor in (state | tensors).items() if tensor is not None}
    kept = {"format": metadata["format"]}
    if isinstance(about, dict):
        about = json.loads(metadata["fisher"]) | about
    if about is not None:
        kept["fisher"] = about if isinstance(about, str) else json.dumps(about)
    save_file(state, path, metadata=kept)
    with pytest.raises(FgqError, match=f"not a whole Fisher table .*{said}") as caught:
        FisherTable.load(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_a_table_is_checked_when_it_is_read_and_where_it_is_to_go(table, tmp_path):
    path = tmp_path / "fisher.safetensors"
    table.save(path)
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(FgqError, match="tensor values is not as it was written"):
        FisherTable.load(path)
    for place in ("~nosuchuser/x", tmp_path, ""):
        with pytest.raises(FgqError):
            table.save(place)


def test_a_kept_scene_of_other_content_is_made_again(tmp_path):
    one, two = (Scene(name, torch.full((2, 3, 8, 8), shade)) for name, shade in (("one", 0.1), ("two", 0.9)))
    cache = SceneCache(tmp_path, ["model", 0])
    cache.keep(one, torch.ones(3, 3, 2, 4), torch.ones(3, 2, 4))
    assert cache.load(one)["by_kind"].sum() == 72 and cache.load(two) is None
    cache.file(two).write_bytes(cache.file(one).read_bytes())
    assert cache.load(two) is None
    for harm in (
        lambda path: path.write_bytes(b"x"),
        lambda path: path.write_bytes(b""),
        lambda path: save_file({"by_kind": torch.ones(3, 3, 2, 4)}, path),
        lambda path: save_file({"by_kind": torch.ones(1), "variance": torch.ones(1)}, path),
    ):
        harm(cache.file(one))
        assert cache.load(one) is None
