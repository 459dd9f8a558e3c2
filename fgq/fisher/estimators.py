"""Which scalars of the model's output are differentiated: one small function an estimator.

An estimator takes the predictions of a batch of clips, the task, and one seeded generator a clip, and yields scalars.
The squared gradients of the scalars it yields are averaged. Clips never share a token, so a sum over the batch gives
every clip its own gradient.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from fgq.errors import FgqError
from fgq.vggt import TASK_OUTPUT, Predictions

Estimator = Callable[[Predictions, str, list[torch.Generator]], Iterator[Tensor]]


def sum_of_outputs(predictions: Predictions, task: str, generators: list[torch.Generator]) -> Iterator[Tensor]:
    """The published choice: L_k is the plain sum of the task's output, so it draws nothing (arXiv:2605.15828).

    Cross terms between output elements stay in: this is the squared gradient of a sum, not a sum of squared gradients.
    """
    yield predictions[TASK_OUTPUT[task]].sum()


ESTIMATORS: dict[str, Estimator] = {"sum_of_outputs": sum_of_outputs}


def find_estimator(name: str) -> Estimator:
    """The estimator of that name; raises FgqError that lists the known ones."""
    if name not in ESTIMATORS:
        raise FgqError(f"no Fisher estimator is called {name!r}; choose one of {', '.join(ESTIMATORS)}")
    return ESTIMATORS[name]
