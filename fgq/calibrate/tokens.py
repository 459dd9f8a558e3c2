"""The calibration clips as tokens, kept while block after block is calibrated."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fgq.affine.learnable_block import Maxima
from fgq.affine.sites import SITES, trace_block
from fgq.calibrate.recipe import Recipe, RecipeError
from fgq.data.scene import Scene
from fgq.vggt.aggregator import FrameLayout
from fgq.vggt.attention import Block
from fgq.vggt.model import VGGT

Clips = Float[Tensor, "clips frames tokens channels"]


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
    """The layout of a batch of clips, made once for every batch size that occurs."""

    def __init__(self, model: VGGT, images: Float[Tensor, "frames 3 height width"]):
        self.model, self.images, self.made = model, images[None], {}

    def of(self, clips: int) -> FrameLayout:
        if clips not in self.made:
            images = self.images.to(self.model.device).expand(clips, -1, -1, -1, -1)
            self.made[clips] = self.model.aggregator.layout(images)
        return self.made[clips]


@torch.no_grad()
def embed_clips(model: VGGT, scenes: Sequence[Scene], recipe: Recipe) -> Clips:
    """The first block's input for every clip; images are checked as the model would."""
    model.check_images(scenes[0].images)
    tokens = []
    for batch in batches(len(scenes), recipe.clips_per_step):
        images = torch.stack([scene.images for scene in scenes[batch]])
        embedded = model.aggregator.embed(images.to(model.device, model.dtype))
        tokens.append(embedded.unflatten(0, images.shape[:2]).to(getattr(torch, recipe.token_dtype)))
    return torch.cat(tokens)


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
def run_fixed(block: nn.Module, kind: str, inputs: Clips, layouts: TokenLayouts, recipe: Recipe) -> Clips:
    """A quantized block's output for all clips, in the inputs' dtype."""
    outputs = torch.empty_like(inputs)
    for batch in batches(len(inputs), recipe.clips_per_step):
        outputs[batch] = run_clips(block, kind, inputs[batch].float(), layouts).to(outputs.dtype)
    return outputs


@torch.no_grad()
def run_full_precision(
    block: Block, kind: str, inputs: Clips, layouts: TokenLayouts, recipe: Recipe
) -> tuple[Clips, Maxima]:
    """A block's full-precision output for all clips, in the inputs' dtype, and each site's largest magnitudes."""
    outputs, maxima = torch.empty_like(inputs), {}
    for batch in batches(len(inputs), recipe.clips_per_step):
        clips = inputs[batch].to(block.norm1.weight.dtype)
        out, seen = trace_block(block, *block_arguments(kind, clips, layouts))
        outputs[batch] = as_clips(out, clips).to(outputs.dtype)
        for site in SITES:
            highest = seen[site.name].abs().flatten(0, -2).amax(0)
            maxima[site.name] = torch.maximum(maxima.get(site.name, highest), highest)
    return outputs, maxima
