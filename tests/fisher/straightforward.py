"""The slow twin: the published procedure (arXiv:2605.15828) as one writes it down at first.

One clip at a time, a whole forward pass for each task, hooks that keep every block's output, and a backward pass to
every parameter, encoder included. Nothing is frozen, shared or batched; parameters' gradients are kept, as they are in
the release, and dropped before the next task.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from fgq.data.scene import Scene
from fgq.vggt import TASK_OUTPUT, TASKS, VGGT


def straightforward_fisher(model: VGGT, scenes: list[Scene]) -> Float[Tensor, "tasks blocks channels"]:
    """F_k[l, c] of `sum_of_outputs`, mean over the scenes, float32."""
    kept: list[Tensor] = []

    def keep(module, inputs, output):
        output.retain_grad()
        kept.append(output)

    handles = [block.register_forward_hook(keep) for _, block in model.aggregator.blocks()]
    total = torch.zeros(len(TASKS), model.config.num_blocks, model.config.embed_dim)
    try:
        for scene in scenes:
            for task_index, task in enumerate(TASKS):
                kept.clear()
                model.zero_grad()
                model(scene.images[None])[TASK_OUTPUT[task]].sum().backward()
                for block_index, output in enumerate(kept):
                    total[task_index, block_index] += output.grad.square().flatten(0, -2).sum(0)
    finally:
        for handle in handles:
            handle.remove()
        model.zero_grad()
    return total / len(scenes)
