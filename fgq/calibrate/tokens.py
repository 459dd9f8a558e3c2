"""The calibration scenes as tokens, kept while block after block is calibrated."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fgq.affine.learnable_block import Maxima
from fgq.affine.sites import SITES, linear_inputs
from fgq.calibrate.recipe import Recipe, RecipeError
from fgq.calibrate.token_store import TokenStore
from fgq.data.scene import Scene
from fgq.vggt.aggregator import FrameLayout, run_block
from fgq.vggt.attention import Block
from fgq.vggt.config import VGGTConfig
from fgq.vggt.model import VGGT

IN_MEMORY = TokenStore()
SceneTokens = Float[Tensor, "scenes frames tokens channels"]


def check_scenes(scenes: Sequence[Scene], recipe: Recipe) -> None:
    """Raises RecipeError when the scenes cannot be batched or are too few for one step."""
    if not scenes or (recipe.learns and len(scenes) < recipe.scenes_per_step):
        raise RecipeError(
            f"{len(scenes)} calibration scenes are too few for a step of {recipe.scenes_per_step} scenes: "
            "load more scenes, or lower scenes_per_step"
        )
    first = scenes[0]
    for scene in scenes:
        if scene.images.shape != first.images.shape:
            raise RecipeError(
                f"scene {scene.name} has images {list(scene.images.shape)}, but scene {first.name} has "
                f"{list(first.images.shape)}: calibration needs equal frame counts and sizes"
            )


class TokenLayouts:
    """The layout of a batch of scenes, made once for every batch size that occurs.

    Holds sizes alone, neither the model nor images, so that it can be sent to a worker.
    """

    def __init__(self, config: VGGTConfig, images: Float[Tensor, "frames 3 height width"], device: torch.device | str):
        frames, _, height, width = images.shape
        self.config, self.device = config, torch.device(device)
        self.sizes = (frames, height // config.patch_size, width // config.patch_size)
        self.made: dict[int, FrameLayout] = {}

    def __getstate__(self) -> dict:
        return self.__dict__ | {"made": {}}

    def of(self, scenes: int) -> FrameLayout:
        if scenes not in self.made:
            self.made[scenes] = FrameLayout(scenes, *self.sizes, self.config, self.device)
        return self.made[scenes]

    def bring(self, tokens: SceneTokens) -> SceneTokens:
        """A batch of scenes where the model computes; tokens at rest may lie elsewhere."""
        return tokens.to(self.device)


@torch.no_grad()
def embed_scenes(
    model: VGGT, scenes: Sequence[Scene], recipe: Recipe, device: torch.device, store: TokenStore = IN_MEMORY
) -> SceneTokens:
    """The first block's input for every scene; the encoder is on `device`."""
    tokens = store.empty(tokens_shape(model, scenes), getattr(torch, recipe.token_dtype))
    for batch in batches(len(scenes), recipe.scenes_per_step):
        images = torch.stack([scene.images for scene in scenes[batch]])
        embedded = model.aggregator.embed(images.to(device, model.dtype))
        tokens[batch] = embedded.unflatten(0, images.shape[:2]).to(tokens)
    return tokens


def tokens_shape(model: VGGT, scenes: Sequence[Scene]) -> tuple[int, int, int, int]:
    """[scenes, frames, tokens, channels]; images are checked as the model would."""
    frames, _, height, width = model.check_images(scenes[0].images)[0].shape
    patches = (height // model.config.patch_size) * (width // model.config.patch_size)
    return len(scenes), frames, model.config.num_special_tokens + patches, model.config.embed_dim


def batches(count: int, size: int) -> Iterator[slice]:
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def stream(layouts: TokenLayouts, steps: Iterable[slice], *tokens: SceneTokens) -> Iterator[tuple[SceneTokens, ...]]:
    """Of each tensor the batches in float32 where the model computes.

    Tokens at rest in another dtype or on another device, as those in files are, are read one batch ahead by a thread.
    """

    def read(batch: slice) -> tuple[SceneTokens, ...]:
        return tuple(layouts.bring(each[batch]).float() for each in tokens)

    if all(each.dtype == torch.float32 and each.device == layouts.device for each in tokens):
        yield from map(read, steps)
        return
    with ThreadPoolExecutor(1) as reader:
        coming: Future | None = None
        for batch in steps:
            ready, coming = coming, reader.submit(read, batch)
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
    for batch in batches(len(inputs), recipe.scenes_per_step):
        tokens = layouts.bring(inputs[batch]).to(block.norm1.weight.dtype)
        outputs[batch] = run_block(block, name, tokens, layouts.of(len(tokens))).to(outputs)
    return outputs


@torch.no_grad()
def run_full_precision(
    block: Block, name: str, inputs: SceneTokens, layouts: TokenLayouts, recipe: Recipe, store: TokenStore = IN_MEMORY
) -> tuple[SceneTokens, Maxima]:
    """A block's full-precision output for all scenes, in the inputs' dtype, and each site's largest magnitudes."""
    outputs, maxima = store.empty(inputs.shape, inputs.dtype), {}
    for batch in batches(len(inputs), recipe.scenes_per_step):
        tokens = layouts.bring(inputs[batch]).to(block.norm1.weight.dtype)
        out, seen = linear_inputs(block, *layouts.of(len(tokens)).arguments(name, tokens))
        outputs[batch] = out.reshape(tokens.shape).to(outputs)
        for site in SITES:
            highest = seen[site.name].abs().flatten(0, -2).amax(0)
            maxima[site.name] = torch.maximum(maxima.get(site.name, highest), highest)
    return outputs, maxima
