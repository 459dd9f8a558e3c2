"""The exact diagonal, one row of the Jacobian after the other: for models small enough, to check the estimators."""

import torch
from jaxtyping import Float
from torch import Tensor

from fgq.data.scene import Scene
from fgq.errors import FgqError
from fgq.fisher.estimators import CONFIDENCE
from fgq.fisher.gradients import frozen, outputs_with_graph, sum_by_kind
from fgq.vggt import TASK_OUTPUT, TASKS, VGGT, Predictions


def exact_fisher(
    model: VGGT, scenes: list[Scene], estimator: str = "hutchinson"
) -> Float[Tensor, "tasks blocks channels"]:
    """What `hutchinson` or `likelihood` give on average, from every output's own gradient, float64.

    With independent noise the expected squared gradient of -log p is Σ_i f_i (∂o_i/∂h)², f_i the Fisher information
    that an observation holds about output o_i: 1 for unit variance; for the length-and-direction noise of `likelihood`,
    c²/D for each of a pixel's D values and D/c² for its confidence. One backward pass an output element: slow.
    Raises FgqError for another estimator.
    """
    if estimator not in ("hutchinson", "likelihood"):
        raise FgqError(f"there is no exact answer to estimator {estimator!r}: choose hutchinson or likelihood")
    total = torch.zeros(len(TASKS), model.config.num_blocks, model.config.embed_dim, dtype=torch.float64)
    with frozen(model), torch.enable_grad():
        for scene in scenes:
            images = model.check_images(scene.images.to(model.device, model.dtype))
            outputs = outputs_with_graph(model, images)
            for k, task in enumerate(TASKS):
                predictions = model.read_heads(outputs, images.shape, tasks=(task,), unrolled=True)
                for value, information in observed(predictions, task, estimator):
                    rows = torch.autograd.grad(value, outputs, retain_graph=True, materialize_grads=True)
                    squares = [sum_by_kind(row, 1, model.config.num_special_tokens)[0].sum(0) for row in rows]
                    total[k] += information * torch.stack(squares).double().cpu()
    return total / len(scenes)


def observed(predictions: Predictions, task: str, estimator: str) -> list[tuple[Tensor, float]]:
    """Every scalar output with the information about it."""
    output = predictions[TASK_OUTPUT[task]]
    if estimator == "hutchinson" or task not in CONFIDENCE:
        return [(value, 1.0) for value in output.flatten()]
    confidence, dims = predictions[CONFIDENCE[task]], output.shape[-1]
    precision = (confidence.detach() ** 2 / dims)[..., None].expand_as(output).flatten().tolist()
    about_confidence = (dims / confidence.detach() ** 2).flatten().tolist()
    return [
        *zip(output.flatten(), precision, strict=True),
        *zip(confidence.flatten(), about_confidence, strict=True),
    ]
