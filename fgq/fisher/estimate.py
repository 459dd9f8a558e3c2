"""The diagonal Fisher of every block output, for every task (arXiv:2605.15828).

F_k[l, c] = 1/N Σ_n Σ_t (∂L_k / ∂h_{l,t,c})²: N clips, t all tokens of a clip, h_l the output of block l.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from fgq.data.scene import Scene
from fgq.errors import FgqError
from fgq.fisher.estimators import Estimator, find_estimator
from fgq.fisher.table import FisherTable
from fgq.vggt import TASKS, VGGT
from fgq.vggt.aggregator import run_block
from fgq.vggt.weights import fingerprint


def estimate_fisher(
    model: VGGT,
    scenes: list[Scene],
    estimator: str = "sum_of_outputs",
    seed: int = 0,
    batch_size: int = 1,
    progress: bool = True,
) -> FisherTable:
    """The Fisher table of `model` on `scenes`, one clip a scene; values [task, block, channel], float32.

    The result does not depend on `batch_size`, how many clips of equal shape run together. The model is left as it
    was, also after an error. A scene's random probes follow from (seed, its position in `scenes`).
    Raises FgqError for no scenes, an unknown estimator, and a gradient that is not finite (names scene and task).
    """
    scalars = find_estimator(estimator)
    scenes = list(scenes)
    if not scenes:
        raise FgqError("the Fisher needs at least one scene, got none: load some with fgq.load_scenes")
    if batch_size < 1:
        raise FgqError(f"batch_size is {batch_size}; at least one clip must run at a time")
    total = torch.zeros(len(TASKS), model.config.num_blocks, model.config.embed_dim, dtype=torch.float64)
    with frozen(model), tqdm(total=len(scenes), desc="Fisher", unit="clip", disable=not progress) as bar:
        for index in batches(scenes, batch_size):
            images = torch.stack([scenes[i].images for i in index]).to(model.device, model.dtype)
            squares = squared_gradients(model, images, scalars, [clip_generator(seed, i, model.device) for i in index])
            check_finite(squares, [scenes[i].name for i in index])
            total += squares.double().cpu().sum(0)
            bar.update(len(index))
    return FisherTable(
        values=(total / len(scenes)).float(),
        tasks=TASKS,
        block_names=tuple(model.config.block_names),
        estimator=estimator,
        seed=seed,
        scene_names=tuple(scene.name for scene in scenes),
        model_hash=fingerprint(model),
    )


@contextmanager
def frozen(model: VGGT) -> Iterator[None]:
    """No parameter asks for a gradient inside, so none is computed or kept; afterwards all is as before."""
    before = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    model.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, wanted in before:
            parameter.requires_grad_(wanted)


def batches(scenes: list[Scene], batch_size: int) -> Iterator[list[int]]:
    """Positions of neighbouring scenes whose images have one shape, at most `batch_size` at a time."""
    for _, group in groupby(range(len(scenes)), key=lambda i: tuple(scenes[i].images.shape)):
        same = list(group)
        yield from (same[start : start + batch_size] for start in range(0, len(same), batch_size))


def clip_generator(seed: int, position: int, device: torch.device) -> torch.Generator:
    """A generator that depends on (seed, position) alone, whatever the batches."""
    state = np.random.SeedSequence([seed % 2**64, position]).generate_state(1, np.uint64)
    return torch.Generator(device).manual_seed(int(state[0] >> np.uint64(1)))


def outputs_with_graph(model: VGGT, images: Tensor) -> list[Tensor]:
    """Outputs of all blocks, each [B * S, tokens, C], joined by one graph that starts at the first of them.

    What comes before the first block output (encoder, special tokens, block F0) needs no gradient and gets no graph.
    """
    aggregator = model.aggregator
    layout = aggregator.layout(images)
    (first_name, first), *others = aggregator.blocks()
    with torch.no_grad():
        tokens = run_block(first, first_name[0], aggregator.embed(images), layout)
    outputs = [tokens.requires_grad_()]
    for name, block in others:
        outputs.append(run_block(block, name[0], outputs[-1], layout))
    return outputs


@torch.enable_grad()
def squared_gradients(
    model: VGGT, images: Tensor, scalars: Estimator, generators: list[torch.Generator]
) -> Float[Tensor, "clips tasks blocks channels"]:
    """Squared gradients of every clip in images [B, S, 3, H, W], summed over its tokens, float32.

    One forward pass serves all tasks; each task then runs its own head and one backward pass a scalar, so only one
    head's graph is alive at a time.
    """
    images = model.check_images(images)
    clips = len(images)
    outputs = outputs_with_graph(model, images)
    tasks = []
    for task in TASKS:
        squares = []
        for scalar in scalars(model.read_heads(outputs, images.shape, tasks=(task,)), task, generators):
            gradients = torch.autograd.grad(scalar, outputs, retain_graph=True, materialize_grads=True)
            squares.append(torch.stack([token_sum(gradient, clips) for gradient in gradients], dim=1))
        tasks.append(torch.stack(squares).mean(0))
    return torch.stack(tasks, dim=1)


def token_sum(gradient: Float[Tensor, "all_frames tokens channels"], clips: int) -> Float[Tensor, "{clips} channels"]:
    """Σ over a clip's frames and tokens of the squared gradient, in float32."""
    return gradient.float().square().unflatten(0, (clips, -1)).sum((1, 2))


def check_finite(squares: Float[Tensor, "clips tasks blocks channels"], scene_names: list[str]) -> None:
    bad = (~torch.isfinite(squares)).flatten(2).any(-1)
    if bad.any():
        clip, task = bad.nonzero()[0].tolist()
        raise FgqError(
            f"scene {scene_names[clip]}: the gradient of task {TASKS[task]} holds NaN or infinity; "
            "leave the scene out, or load the model in float32"
        )
