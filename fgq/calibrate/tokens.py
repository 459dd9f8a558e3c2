"""The calibration scenes as tokens, kept while block after block is calibrated."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import nn

from fgq.affine.learnable_block import Maxima
from fgq.affine.sites import SITES, linear_inputs
from fgq.calibrate.layouts import SceneTokens, Step, TokenLayouts, batches, layouts_of, stacks
from fgq.calibrate.recipe import Recipe, RecipeError
from fgq.calibrate.token_store import TokenStore
from fgq.data.scene import Scene
from fgq.errors import FgqError
from fgq.vggt.aggregator import clip_shape, count_tokens, run_block
from fgq.vggt.attention import Block
from fgq.vggt.model import VGGT

IN_MEMORY = TokenStore()


def check_scenes(scenes: Sequence[Scene], recipe: Recipe) -> None:
    """Raises RecipeError when the scenes are too few for one step."""
    if not scenes or (recipe.learns and len(scenes) < recipe.scenes_per_step):
        raise RecipeError(
            f"{len(scenes)} calibration scenes are too few for a step of {recipe.scenes_per_step} scenes: "
            "load more scenes, or lower scenes_per_step"
        )


@torch.no_grad()
def embed_scenes(
    model: VGGT, scenes: Sequence[Scene], recipe: Recipe, device: torch.device, store: TokenStore = IN_MEMORY
) -> SceneTokens:
    """The first block's input for every scene; the encoder is on `device`."""
    layouts = layouts_of(model.config, scenes, device)
    tokens = store.empty(tokens_shape(model, scenes), getattr(torch, recipe.token_dtype))
    size = recipe.scenes_per_step
    for step, batch in zip(layouts.steps(tokens, size), batches(len(scenes), size), strict=True):
        embedded = [model.aggregator.embed(images.to(device, model.dtype)) for images in stacks(scenes[batch])]
        tokens[step] = torch.cat([clips.flatten(0, 1) for clips in embedded]).view(tokens[step].shape).to(tokens)
    return tokens


def tokens_shape(model: VGGT, scenes: Sequence[Scene]) -> tuple[int, ...]:
    """[scenes, frames, tokens, channels], or [1, all_tokens, channels] for scenes of several shapes.

    Images are checked as the model would, which raises FgqError, with the scene's name.
    """
    counts = []
    for scene in scenes:
        try:
            model.check_images(scene.images)
        except FgqError as error:
            raise FgqError(f"scene {scene.name}: {error}") from error
        counts.append(count_tokens(clip_shape(scene.images, model.config), model.config))
    if len({scene.images.shape for scene in scenes}) > 1:
        return 1, sum(counts), model.config.embed_dim
    frames = scenes[0].num_frames
    return len(scenes), frames, counts[0] // frames, model.config.embed_dim


def stream(layouts: TokenLayouts, steps: Iterable[Step], *tokens: SceneTokens) -> Iterator[tuple[SceneTokens, ...]]:
    """Of each tensor the batches in float32 where the model computes.

    Tokens at rest in another dtype or on another device, as those in files are, are read one batch ahead by a thread.
    """

    def read(step: Step) -> tuple[SceneTokens, ...]:
        return tuple(layouts.placed(layouts.bring(each[step]).float(), step) for each in tokens)

    if all(each.dtype == torch.float32 and each.device == layouts.device for each in tokens):
        yield from map(read, steps)
        return
    with ThreadPoolExecutor(1) as reader:
        coming: Future | None = None
        for step in steps:
            ready, coming = coming, reader.submit(read, step)
            if ready is not None:
                yield ready.result()
        if coming is not None:
            yield coming.result()


@torch.no_grad()
def run_fixed(
    block: nn.Module,
    name: str,
    inputs: SceneTokens,
    layouts: TokenLayouts,
    recipe: Recipe,
    store: TokenStore = IN_MEMORY,
) -> SceneTokens:
    """A quantized block's output for all scenes, in the inputs' dtype."""
    outputs = store.empty(inputs.shape, inputs.dtype)
    for step in layouts.steps(inputs, recipe.scenes_per_step):
        tokens = layouts.placed(layouts.bring(inputs[step]).to(block.norm1.weight.dtype), step)
        outputs[step] = run_block(block, name, tokens, layouts.of(len(tokens))).to(outputs)
    return outputs


@torch.no_grad()
def run_full_precision(
    block: Block, name: str, inputs: SceneTokens, layouts: TokenLayouts, recipe: Recipe, store: TokenStore = IN_MEMORY
) -> tuple[SceneTokens, Maxima]:
    """A block's full-precision output for all scenes, in the inputs' dtype, and each site's largest magnitudes."""
    outputs, maxima = store.empty(inputs.shape, inputs.dtype), {}
    for step in layouts.steps(inputs, recipe.scenes_per_step):
        tokens = layouts.placed(layouts.bring(inputs[step]).to(block.norm1.weight.dtype), step)
        out, seen = linear_inputs(block, *layouts.of(len(tokens)).arguments(name, tokens))
        outputs[step] = out.reshape(tokens.shape).to(outputs)
        for site in SITES:
            highest = seen[site.name].abs().flatten(0, -2).amax(0)
            maxima[site.name] = torch.maximum(maxima.get(site.name, highest), highest)
    return outputs, maxima
