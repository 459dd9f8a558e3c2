"""Encoder and camera head rounded to nearest: parts that the published method leaves in full precision.

Their linear layers become `QuantizedLinear`, with one scale an output channel (or group) and activations quantized
token by token. Three things stay as they are. The patch embedding, a convolution, reads pixels. The camera head's
`embed_pose` and `pose_branch` read and write the nine numbers of a pose, whose last corrections are smaller than a step
of a coarse grid. Bits are the recipe's `weight_bits` and `activation_bits`, also where blocks, sites or special tokens
of the aggregator have their own.
"""

import copy
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from fgq.calibrate.layouts import batches, stacks
from fgq.calibrate.log import PartLog
from fgq.calibrate.recipe import Recipe, RecipeError
from fgq.data.scene import Scene
from fgq.quant.clipping import FixedClip
from fgq.quant.grid import Grid
from fgq.quant.linear import QuantizedLinear
from fgq.vggt.model import VGGT
from fgq.vggt.saved import PARTS, part_description

FULL_PRECISION = ("embed_pose", "pose_branch")  # first names of layers that no part rounds

Parts = dict[str, nn.Module]


def layers_of(part: nn.Module) -> dict[str, nn.Linear]:
    """The linear layers of a part that can be rounded, by their paths in it."""
    return {
        path: module
        for path, module in part.named_modules()
        if isinstance(module, nn.Linear) and path.split(".")[0] not in FULL_PRECISION
    }


def with_layers(part: nn.Module, weight: Grid, activation: Grid, rounds: bool) -> nn.Module:
    """A copy of a part with quantized layers, holding the rounded weights or, without `rounds`, nothing yet."""
    made = {}
    for linear in layers_of(part).values():
        fixed = QuantizedLinear(linear.in_features, linear.out_features, weight, activation)
        if rounds:
            fixed.to(linear.weight.device)
            fixed.store(linear.weight.float(), linear.bias.float(), FixedClip.whole(1).to(linear.weight.device))
        made[id(linear)] = fixed.to(linear.weight.device, linear.weight.dtype)
    return copy.deepcopy(part, memo=made)  # the layers' full-precision weights are not copied


def round_parts(model: VGGT, recipe: Recipe) -> Parts:
    """The parts that the recipe rounds, by its fields' names; the model stays as it was. Raises RecipeError."""
    parts = {}
    for name, path in PARTS.items():
        if getattr(recipe, name) == "full_precision":
            continue
        part = model.get_submodule(path)
        if part_description(part) is not None:
            raise RecipeError(f"the {name} is quantized already: quantize the full-precision model instead")
        for layer, linear in layers_of(part).items():
            recipe.check_groups(f"{path}.{layer}", linear.in_features)
        parts[name] = with_layers(part, recipe.weight_grid, recipe.activation_grid, rounds=True)
    return parts


def install(model: VGGT, parts: Parts) -> None:
    for name, part in parts.items():
        model.set_submodule(PARTS[name], part.to(model.device))


@contextmanager
def exchanged(model: VGGT, parts: Parts) -> Iterator[None]:
    """The model with other parts while inside; afterwards as it was."""
    home = {name: model.get_submodule(PARTS[name]) for name in parts}
    for name, part in parts.items():
        model.set_submodule(PARTS[name], part)
    try:
        yield
    finally:
        for name, part in home.items():
            model.set_submodule(PARTS[name], part)


@torch.no_grad()
def measure_parts(model: VGGT, parts: Parts, scenes: Sequence[Scene], scenes_per_step: int) -> tuple[PartLog, ...]:
    """What rounding each part alone does to its own output, on inputs of the full-precision model; None without scenes.

    The encoder's output are its patch tokens, the camera head's the pose encodings of its last iteration. Where the
    camera head is rounded, the full-precision blocks all run once on every scene.
    """
    logs = []
    for name, part in parts.items():
        full = model.get_submodule(PARTS[name])
        part.to(model.device)
        error, scale, count = 0.0, 0.0, 0
        for batch in batches(len(scenes), scenes_per_step):
            for images in stacks(scenes[batch]):
                outputs = outputs_of(model, name, (full, part), images.to(model.device, model.dtype))
                truth, rounded = (output.double() for output in outputs)
                error += (rounded - truth).square().sum().item()
                scale += truth.square().sum().item()
                count += truth.numel()
        found = (error / count, (error / scale) ** 0.5) if count else (None, None)
        logs.append(PartLog(name, len(layers_of(full)), *found))
    return tuple(logs)


def outputs_of(model: VGGT, name: str, versions: Sequence[nn.Module], images: Tensor) -> list[Tensor]:
    """Of several versions of one part, on the same images [scenes, frames, 3, height, width]."""
    if name == "camera_head":
        frame, globally = deque(model.aggregator.outputs(images), maxlen=2)
        tokens = torch.cat([frame[:, 0], globally[:, 0]], dim=-1).unflatten(0, images.shape[:2])
        return [version(tokens)[-1] for version in versions]
    found = []
    for version in versions:
        with exchanged(model, {name: version}):
            found.append(model.aggregator.embed(images)[:, model.config.num_special_tokens :])
    return found
