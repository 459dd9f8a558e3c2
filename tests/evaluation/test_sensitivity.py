import copy

import pytest
import torch

from fgq.affine.learnable_block import LearnableBlock
from fgq.calibrate.recipe import Recipe
from fgq.data.scene import Scene
from fgq.errors import FgqError
from fgq.evaluation.sensitivity import block_sensitivity
from fgq.fisher import estimate_fisher
from fgq.vggt import TASK_OUTPUT, VGGT, VGGTConfig
from tests.conftest import TOY_SIZES

SPEC = Recipe("rtn").block_spec()


@pytest.fixture(scope="module")
def case():
    torch.manual_seed(0)
    model = VGGT(VGGTConfig(**TOY_SIZES)).eval()
    scenes = [Scene(name=f"s{i}", images=torch.rand(2, 3, 16, 16)) for i in range(2)]
    fisher = estimate_fisher(model, scenes, progress=False)
    return model, scenes, fisher, block_sensitivity(model, scenes, SPEC, fisher)


@pytest.mark.parametrize("index", range(4))
@torch.no_grad()
def test_both_damages_equal_a_whole_model_with_that_block_replaced(case, index):
    model, scenes, fisher, found = case
    name, block = list(model.aggregator.blocks())[index]
    changed = copy.deepcopy(model)
    changed.aggregator.replace_block(name, LearnableBlock(block, SPEC).freeze())
    for t, (task, output) in enumerate(TASK_OUTPUT.items()):
        measured = predicted = 0.0
        for scene in scenes:
            new, old = changed(scene.images, return_tokens=True), model(scene.images, return_tokens=True)
            measured += 0.5 * (new[output] - old[output]).double().square().sum().item() / 2
            error = new.block_outputs[index] - old.block_outputs[index]  # its input is still full precision
            mean = error.double().square().flatten(0, -2).mean(0)
            predicted += 0.5 * float(fisher.values[t, index].double() @ mean) / 2
        row = found[(found.block == name) & (found.task == task)].iloc[0]
        assert row.measured == pytest.approx(measured, rel=1e-4, abs=1e-12)
        assert row.predicted == pytest.approx(predicted, rel=1e-4, abs=1e-18)


def test_no_scenes_is_an_error(case):
    with pytest.raises(FgqError, match="at least one scene"):
        block_sensitivity(case[0], [], SPEC, case[2])
