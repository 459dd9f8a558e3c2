"""What it costs each task when one block alone is quantized: measured, and as the Fisher predicts it."""

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from fgq.affine.learnable_block import LearnableBlock
from fgq.affine.spec import BlockSpec
from fgq.data.scene import Scene
from fgq.errors import FgqError
from fgq.fisher import FisherTable
from fgq.vggt import TASK_OUTPUT, TASKS, VGGT, Predictions
from fgq.vggt.aggregator import run_block


@torch.no_grad()
def block_sensitivity(model: VGGT, scenes: Sequence[Scene], spec: BlockSpec, fisher: FisherTable) -> pd.DataFrame:
    """One row a block and task: `measured` and `predicted` damage, means over clips; the model is not changed.

    measured  = ½ |y(quantized block) - y|², the squared deviation of the task's whole raw output;
    predicted = ½ Σ_c F[l, c] E[Δ_c²], the diagonal second-order term (arXiv:2605.15828): Δ is the error of the
    block's output when it reads full-precision inputs, E the mean over tokens.
    Blocks are rounded to nearest as `spec` says. What runs before the block is computed once for all blocks.
    Raises FgqError for no scenes, a Fisher of another model, and an output that is not finite (names scene and block).
    """
    if not scenes:
        raise FgqError("the sensitivity needs at least one scene, got none: load some with fgq.load_scenes")
    fisher.check_matches(model)
    blocks = list(model.aggregator.blocks())
    rounded = [LearnableBlock(block, spec).freeze() for _, block in blocks]
    measured = torch.zeros(len(TASKS), len(blocks), dtype=torch.float64)
    predicted = torch.zeros_like(measured)
    rows = [fisher.tasks.index(task) for task in TASKS]
    for scene in scenes:
        images = model.check_images(scene.images.to(model.device, model.dtype))
        layout = model.aggregator.layout(images)
        inputs = [model.aggregator.embed(images)]
        for name, block in blocks:
            inputs.append(run_block(block, name[0], inputs[-1], layout))
        reference = model.read_heads(inputs[1:], images.shape)
        for index, (name, _) in enumerate(blocks):
            outputs = inputs[1 : index + 1]
            tokens = run_block(rounded[index], name[0], inputs[index], layout)
            outputs.append(tokens)
            for later, block in blocks[index + 1 :]:
                outputs.append(run_block(block, later[0], outputs[-1], layout))
            moved = half_squared_deviation(model.read_heads(outputs, images.shape), reference)
            if not torch.isfinite(moved).all():
                raise FgqError(f"scene {scene.name}: with block {name} quantized the output holds NaN or infinity")
            measured[:, index] += moved
            error = (tokens - inputs[index + 1]).double().square().flatten(0, -2).mean(0).cpu()
            predicted[:, index] += 0.5 * fisher.values[rows, index].double() @ error
    return pd.DataFrame(
        [
            (name, task, measured[t, b].item() / len(scenes), predicted[t, b].item() / len(scenes))
            for b, (name, _) in enumerate(blocks)
            for t, task in enumerate(TASKS)
        ],
        columns=["block", "task", "measured", "predicted"],
    )


def half_squared_deviation(moved: Predictions, reference: Predictions) -> Tensor:
    """½ of the squared distance between the raw outputs of each task, [tasks], float64."""
    pairs = [(moved[TASK_OUTPUT[task]].double(), reference[TASK_OUTPUT[task]].double()) for task in TASKS]
    return torch.stack([0.5 * (mine - theirs).square().sum() for mine, theirs in pairs]).cpu()
