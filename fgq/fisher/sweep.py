"""Gradients at every block output, with the graph of one head or one block alive at a time."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from fgq.errors import FgqError
from fgq.fisher.estimators import Clips, Estimator
from fgq.vggt import TASK_OUTPUT, TASKS, VGGT, Predictions
from fgq.vggt.aggregator import FrameLayout, run_block

DRAWS_A_SWEEP = 8  # tasks times probes that go back through the blocks together; each needs memory for its gradients
TASK_HEAD = {"camera": "camera_head", "depth": "depth_head", "points": "point_head"}

HeadGradients = dict[int, Tensor]  # at the block outputs that a head reads, by position, each [B * S, tokens, C]


def head_gradients(
    model: VGGT,
    outputs: list[Tensor],
    image_shape: tuple[int, ...],
    estimator: Estimator,
    probes: int,
    clips: Clips,
    unrolled: bool = False,
    tasks: tuple[str, ...] = TASKS,
) -> Iterator[HeadGradients]:
    """Of each task and draw, task by task: the gradient of its scalar at the block outputs that the head itself reads.

    Each task runs its own head, clip by clip, since a head's graph takes more memory than all else, and once for
    several draws; `unrolled` is explained at VGGT.read_heads. Raises FgqError for a head that is missing, or gives no
    output.
    """
    frames = image_shape[1]
    for task in tasks:
        for start in range(0, probes, DRAWS_A_SWEEP):
            count = min(DRAWS_A_SWEEP, probes - start)
            of_clips = []
            for number in range(image_shape[0]):
                rows = slice(number * frames, (number + 1) * frames)
                read = {index: outputs[index][rows].detach().requires_grad_() for index in sorted(model.blocks_read)}
                clip = clips.only(number)
                with torch.enable_grad():
                    predictions = read_head(model, read, (1, *image_shape[1:]), task, clip, unrolled)
                of_clips.append(list(draw_gradients(predictions, read, estimator, task, clip, count)))
            for draws in zip(*of_clips, strict=True):
                yield {index: torch.cat([draw[index] for draw in draws]) for index in draws[0]}


def draw_gradients(
    predictions: Predictions, read: dict[int, Tensor], estimator: Estimator, task: str, clip: Clips, count: int
) -> Iterator[HeadGradients]:
    for draw in range(count):
        with torch.enable_grad():
            scalar = estimator(predictions, task, clip)
        more = draw + 1 < count
        found = torch.autograd.grad(scalar, list(read.values()), retain_graph=more, allow_unused=True)
        yield {index: gradient for index, gradient in zip(read, found, strict=True) if gradient is not None}


def read_head(
    model: VGGT, read: dict[int, Tensor], image_shape: tuple[int, ...], task: str, clips: Clips, unrolled: bool
) -> Predictions:
    who = f"scene {clips.scenes[0].name}, task {task}"
    if getattr(model, TASK_HEAD[task], None) is None:
        raise FgqError(f"{who}: the model has no {TASK_HEAD[task]}: load a checkpoint that holds it")
    predictions = model.read_heads(read, image_shape, tasks=(task,), unrolled=unrolled)
    if getattr(predictions, TASK_OUTPUT[task]) is None:
        raise FgqError(f"{who}: the model's head gives no {TASK_OUTPUT[task]}, so there is nothing to differentiate")
    return predictions


def sweep(
    model: VGGT, outputs: list[Tensor], layout: FrameLayout, draws: list[HeadGradients]
) -> Iterator[list[Float[Tensor, "all_frames tokens channels"]]]:
    """From the last block to the first: the whole gradient of every draw at the block's output.

    A block runs once more to get a graph, which serves all draws and is dropped. So memory holds one block's graph and
    not that of all, for the price of one more forward pass. The first block needs none: nobody asks for the gradient at
    its input, nor at what comes before, the encoder and the special tokens.
    """
    blocks = list(model.aggregator.blocks())
    upstream = [torch.zeros_like(outputs[-1]) for _ in draws]
    for index in reversed(range(len(blocks))):
        upstream = [g + draw[index] if index in draw else g for g, draw in zip(upstream, draws, strict=True)]
        yield upstream
        if index > 0:
            name, block = blocks[index]
            upstream = through_block(block, name, outputs[index - 1], layout, upstream)


def through_block(
    block: torch.nn.Module, name: str, tokens: Tensor, layout: FrameLayout, gradients: list[Tensor]
) -> list[Tensor]:
    """Gradients at a block's output to those at its input `tokens`."""
    tokens = tokens.detach().requires_grad_()
    with torch.enable_grad():
        output = run_block(block, name, tokens, layout)
    last = len(gradients) - 1
    return [
        torch.autograd.grad(output, tokens, gradient, retain_graph=number < last, materialize_grads=True)[0]
        for number, gradient in enumerate(gradients)
    ]
