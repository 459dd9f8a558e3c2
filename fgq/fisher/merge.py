"""From one Fisher a task to the channel weights of the calibration loss (arXiv:2605.15828)."""

import torch
from jaxtyping import Float
from torch import Tensor

from fgq.errors import FgqError

WEIGHT_FLOOR = 0.01  # of a block's mean weight: no channel's error is ever free


def task_shares(
    values: Float[Tensor, "tasks blocks channels"], task_weights: Float[Tensor, " tasks"]
) -> Float[Tensor, " tasks"]:
    """What one unit of each task's Fisher counts: its weight over the task's mean over (block, channel).

    The division makes tasks comparable: their outputs have different units and sizes.
    """
    used = task_weights > 0  # an unused task may be all zeros
    return torch.where(used, task_weights / values.mean(dim=(1, 2)).where(used, 1.0), 0.0)


def merge_tasks(
    values: Float[Tensor, "tasks blocks channels"], task_weights: Float[Tensor, " tasks"]
) -> Float[Tensor, "blocks channels"]:
    """Each task divided by its mean over (block, channel), then added up with its weight."""
    return torch.einsum("t,tbc->bc", task_shares(values, task_weights), values)


def block_weights(
    sensitivity: Float[Tensor, "blocks channels"], floor: float = WEIGHT_FLOOR
) -> Float[Tensor, "blocks channels"]:
    """Mean 1 in every block, then nothing below `floor`; what differs between blocks is gone."""
    return (sensitivity / sensitivity.mean(dim=1, keepdim=True)).clamp(min=floor)


def weights_of_tasks(tasks: tuple[str, ...], chosen: dict[str, float] | None) -> Float[Tensor, " tasks"]:
    """One weight a task in the table's order: equal ones, or `chosen`, where an absent task counts 0.

    Raises FgqError for an unknown task, a negative weight, or no weight above 0.
    """
    if chosen is None:
        return torch.ones(len(tasks), dtype=torch.float64)
    unknown = [task for task in chosen if task not in tasks]
    if unknown:
        raise FgqError(f"task_weights names {', '.join(unknown)}; the Fisher table has {', '.join(tasks)}")
    weights = torch.tensor([float(chosen.get(task, 0.0)) for task in tasks], dtype=torch.float64)
    if not torch.isfinite(weights).all() or (weights < 0).any() or not (weights > 0).any():
        raise FgqError(f"task_weights {chosen} must be finite, not negative, and at least one above 0")
    return weights
