"""The calibration clips as tokens, kept while block after block is calibrated."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fgq.affine.learnable_block import Maxima
from fgq.affine.sites import SITES, trace_block
from fgq.calibrate.recipe import Recipe, RecipeError
from fgq.calibrate.token_cache import BUDGET, Clips, DiskClips, empty_clips, empty_like
from fgq.data.scene import Scene
from fgq.vggt.aggregator import FrameLayout
from fgq.vggt.attention import Block
from fgq.vggt.model import VGGT


def check_scenes(scenes: Sequence[Scene], recipe: Recipe) -> None:
    """Raises RecipeError when the scenes cannot be batched or are too few for one step."""
    if not scenes or (recipe.learns and len(scenes) < recipe.clips_per_step):
        raise RecipeError(
            f"{len(scenes)} calibration scenes are too few for a step of {recipe.clips_per_step} clips: "
            "load more scenes, or lower clips_per_step"
        )
    first = scenes[0]
    for scene in scenes:
        if scene.images.shape != first.images.shape:
            raise RecipeError(
                f"scene {scene.name} has images {list(scene.images.shape)}, but scene {first.name} has "
                f"{list(first.images.shape)}: calibration needs equal frame counts and sizes"
            )


class TokenLayouts:
    """The layout of a batch of clips on `device` (the model's by default), made once for every batch size."""

    def __init__(self, model: VGGT, images: Float[Tensor, "frames 3 height width"], device: torch.device | None = None):
        self.model, self.images, self.made = model, images[None], {}
        self.device = model.device if device is None else device

    def of(self, clips: int) -> FrameLayout:
        if clips not in self.made:
            images = self.images.to(self.device).expand(clips, -1, -1, -1, -1)
            self.made[clips] = self.model.aggregator.layout(images)
        return self.made[clips]


@contextmanager
def on_device(module: nn.Module, device: torch.device) -> Iterator[None]:
    """The module lies on `device` inside, and where it was afterwards, also after an error."""
    home = next(module.parameters()).device
    module.to(device)
    try:
        yield
    finally:
        module.to(home)


@torch.no_grad()
def embed_clips(
    model: VGGT,
    scenes: Sequence[Scene],
    recipe: Recipe,
    device: torch.device | None = None,
    budget: int = BUDGET,
    folder: Path | None = None,
) -> Clips | DiskClips:
    """The first block's input for every clip; images are checked as the model would.

    The encoder works on `device` (the model's by default) and leaves it again. The tokens stay in the recipe's
    precision on `device` if all caches of a run fit `budget` bytes, else in bfloat16 in a file under `folder`.
    """
    model.check_images(scenes[0].images)
    device = model.device if device is None else device
    caches = 2 if recipe.block_inputs == "full_precision" else 3  # input, output, and what a quantized model would read
    tokens = None
    with on_device(model.aggregator.patch_embed, device):
        for batch in batches(len(scenes), recipe.clips_per_step):
            images = torch.stack([scene.images for scene in scenes[batch]])
            embedded = model.aggregator.embed(images.to(device, model.dtype)).unflatten(0, images.shape[:2])
            if tokens is None:
                shape = (len(scenes), *embedded.shape[1:])
                tokens = empty_clips(shape, getattr(torch, recipe.token_dtype), device, caches, budget, folder)
            tokens[batch] = embedded.to(tokens.dtype)
    return tokens


def all_finite(clips: Clips | DiskClips, clips_at_once: int) -> bool:
    return all(torch.isfinite(clips[batch]).all() for batch in batches(len(clips), clips_at_once))


def batches(count: int, size: int) -> Iterator[slice]:
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def run_clips(block: nn.Module, kind: str, clips: Clips, layouts: TokenLayouts) -> Clips:
    """A block on a batch of clips: a frame block sees each frame alone, a global one the whole clip."""
    return as_clips(block(*block_arguments(kind, clips, layouts)), clips)


def block_arguments(kind: str, clips: Clips, layouts: TokenLayouts) -> tuple:
    tokens = clips.flatten(0, 1) if kind == "F" else clips.flatten(1, 2)
    return tokens, layouts.of(len(clips)).rotary[kind]


def as_clips(tokens: Tensor, clips: Clips) -> Clips:
    return tokens.reshape(clips.shape)


@torch.no_grad()
def run_fixed(
    block: nn.Module, kind: str, inputs: Clips | DiskClips, layouts: TokenLayouts, recipe: Recipe
) -> Clips | DiskClips:
    """A quantized block's output for all clips, kept as the inputs are."""
    outputs = empty_like(inputs)
    for batch in batches(len(inputs), recipe.clips_per_step):
        outputs[batch] = run_clips(block, kind, inputs[batch].float(), layouts).to(outputs.dtype)
    return outputs


@torch.no_grad()
def run_full_precision(
    block: Block, kind: str, inputs: Clips | DiskClips, layouts: TokenLayouts, recipe: Recipe
) -> tuple[Clips | DiskClips, Maxima]:
    """A block's full-precision output for all clips, kept as the inputs are, and each site's largest magnitudes."""
    outputs, maxima = empty_like(inputs), {}
    for batch in batches(len(inputs), recipe.clips_per_step):
        clips = inputs[batch].to(block.norm1.weight.dtype)
        out, seen = trace_block(block, *block_arguments(kind, clips, layouts))
        outputs[batch] = as_clips(out, clips).to(outputs.dtype)
        for site in SITES:
            highest = seen[site.name].abs().flatten(0, -2).amax(0)
            maxima[site.name] = torch.maximum(maxima.get(site.name, highest), highest)
    return outputs, maxima
