"""Squared gradients of one batch of clips: one forward pass, then backward for every task and draw."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import torch
from jaxtyping import Float
from torch import Tensor

from fgq.data.scene import Scene
from fgq.fisher.estimators import NEEDS_TRUTH, Clips, find_estimator, truth_scale
from fgq.fisher.sweep import DRAWS_A_SWEEP, head_gradients, sweep
from fgq.randomness import derived_generator
from fgq.vggt import TASKS, VGGT
from fgq.vggt.aggregator import run_block
from fgq.vggt.token_kinds import kind_slices

TRUTH = ("extrinsics", "intrinsics", "depth", "points", "valid")


@dataclass(frozen=True)
class Job:
    """What decides a scene's numbers beside the model and the scene."""

    estimator: str
    probes: int
    seed: int
    autocast: bool
    unrolled: bool  # the camera through every iteration of its head


@dataclass(frozen=True)
class Squares:
    """Of a batch of clips, on the CPU, float32."""

    by_kind: Float[Tensor, "clips tasks kinds blocks channels"]  # mean over the draws, summed over a kind's tokens
    variance: Float[Tensor, "clips tasks blocks channels"]  # of the mean over the draws, all kinds together


def squared_gradients(model: VGGT, scenes: list[Scene], job: Job) -> Squares:
    """Scenes of one shape. Raises FgqError for a model without the head of a task."""
    estimator = find_estimator(job.estimator, job.probes)
    images = model.check_images(torch.stack([scene.images for scene in scenes]).to(model.device, model.dtype))
    with frozen(model), torch.no_grad(), torch.autocast(model.device.type, torch.bfloat16, enabled=job.autocast):
        outputs, layout = model.aggregator(images), model.aggregator.layout(images)
        scales = truth_scales(model, outputs, images, scenes) if job.estimator in NEEDS_TRUTH else ()
        clips = Clips(tuple(scenes), tuple(clip_generator(job.seed, scene) for scene in scenes), scales)
        squares = []
        draws = head_gradients(model, outputs, images.shape, estimator, job.probes, clips, job.unrolled)
        while group := list(islice(draws, DRAWS_A_SWEEP)):
            by_block = [
                torch.stack([sum_by_kind(g, len(scenes), model.config.num_special_tokens) for g in gradients])
                for gradients in sweep(model, outputs, layout, group)
            ]
            squares.append(torch.stack(by_block[::-1], dim=3).cpu())
    drawn = torch.cat(squares).unflatten(0, (len(TASKS), job.probes)).transpose(0, 1)
    spread = drawn.sum(3).var(0) / job.probes if job.probes > 1 else torch.zeros_like(drawn[0].sum(2))
    return Squares(drawn.mean(0).transpose(0, 1), spread.transpose(0, 1))


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


def outputs_with_graph(model: VGGT, images: Tensor) -> list[Tensor]:
    """Outputs of all blocks, each [B * S, tokens, C], joined by one graph that starts at the first of them.

    What comes before the first block output (encoder, special tokens, block F0) needs no gradient and gets no graph.
    """
    aggregator = model.aggregator
    layout = aggregator.layout(images)
    (first_name, first), *others = aggregator.blocks()
    with torch.no_grad():
        tokens = run_block(first, first_name, aggregator.embed(images), layout)
    outputs = [tokens.requires_grad_()]
    for name, block in others:
        outputs.append(run_block(block, name, outputs[-1], layout))
    return outputs


@torch.no_grad()
def truth_scales(model: VGGT, outputs: list[Tensor], images: Tensor, scenes: list[Scene]) -> tuple[float, ...]:
    depth = model.read_heads(outputs, images.shape, tasks=("depth",)).depth.squeeze(-1)
    return tuple(truth_scale(scene, clip) for scene, clip in zip(scenes, depth, strict=True))


def sum_by_kind(
    gradient: Float[Tensor, "all_frames tokens channels"], clips: int, special: int
) -> Float[Tensor, "{clips} 3 channels"]:
    """Σ of the squared gradient over a clip's frames and over its tokens of each kind, in float32."""
    squares = gradient.float().square().unflatten(0, (clips, -1)).sum(1)
    return torch.stack([squares[:, rows].sum(1) for rows in kind_slices(special).values()], dim=1)


def clip_generator(seed: int, scene: Scene) -> torch.Generator:
    """A generator that follows from the seed and the scene's images, whatever else is in the batch or the list."""
    return derived_generator(seed, int(scene_hash(scene)[:16], 16))


def scene_hash(scene: Scene) -> str:
    """SHA-256 of the scene's images and of what is known about them; its name does not count."""
    digest = hashlib.sha256()
    for field in ("images", *TRUTH):
        value = getattr(scene, field)
        if value is not None:
            digest.update(f"{field} {value.dtype} {list(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
