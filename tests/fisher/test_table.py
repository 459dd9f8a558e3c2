from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from fgq.errors import FgqError
from fgq.fisher import FisherTable
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
    with pytest.raises(FgqError, match="not a readable safetensors file"):
        FisherTable.load(text)
    save_file({"values": torch.ones(1, 1, 1)}, tensors)
    with pytest.raises(FgqError, match="not a Fisher table"):
        FisherTable.load(tensors)
