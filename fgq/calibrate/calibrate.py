"""`quantize`: the published calibration loop over all blocks (FGQ, arXiv:2605.15828; FlatQuant, arXiv:2410.09426)."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fgq.affine.learnable_block import LearnableBlock
from fgq.affine.quantized_block import empty_quantized_block
from fgq.affine.sites import SITES, linear_of
from fgq.calibrate.allocate import allocate_bits
from fgq.calibrate.block_loop import block_generator
from fgq.calibrate.clip_choice import clips_of
from fgq.calibrate.log import BlockLog, PartLog
from fgq.calibrate.model_loop import ModelLoop, Result
from fgq.calibrate.objective import Weights, find_weights
from fgq.calibrate.parts import exchanged, measure_parts, round_parts
from fgq.calibrate.recipe import Recipe, RecipeError, find_recipe
from fgq.calibrate.resume import FinishedBlocks, describe_calibration
from fgq.calibrate.token_store import TOKEN_BUDGET, TokenStore, fits
from fgq.calibrate.tokens import Clips, TokenLayouts, check_scenes, embed_clips, tokens_shape
from fgq.data.disjoint import Seen
from fgq.data.scene import Scene
from fgq.fisher import FisherTable
from fgq.vggt.attention import Block
from fgq.vggt.model import VGGT


def quantize(
    model: VGGT,
    scenes: Sequence[Scene] = (),
    recipe: str | Recipe = "fgq",
    weight_bits: int | None = None,
    activation_bits: int | None = None,
    fisher: FisherTable | Weights | None = None,
    seed: int = 0,
    progress: bool = True,
    token_budget: int = TOKEN_BUDGET,
    cache_dir: str | Path | None = None,
    device: torch.device | str | None = None,
    in_place: bool = False,
    executor: Executor | None = None,
    resume_dir: str | Path | None = None,
    **overrides: Any,
) -> VGGT:
    """A new model whose aggregator blocks are fixed quantized blocks; `model` is left as it was.

    Where the recipe says so, the encoder and the camera head are rounded too (see fgq.calibrate.parts).

    With `in_place` it is `model` itself whose blocks are exchanged, each as soon as it is finished, so that at no time
    there are two models; after an error, the blocks that were finished stay exchanged. The work is done on `device`
    (the model's own unless told), where the encoder comes first and then one block at a time.

    `recipe` is a name in RECIPES or a Recipe; bits of None keep the recipe's (4 and 4); `overrides` replace its other
    fields. With a `bit_budget` the table `fisher` deals weight bits to the blocks first, and the result's recipe states
    them. `scenes` are calibration clips of one frame count and size ("rtn" and "quarot" need none, but without them
    the log has no losses), of which the recipe may choose some (`clips`, `clip_choice`). `fisher` is a Fisher table, or
    calibration weights [blocks, channels]. `model.quantization` of the result holds the recipe, the seed, one log a
    block and the scenes. Block l draws from (seed, l) alone.
    Between the blocks the clips' tokens are kept in memory as long as they take at most `token_budget` bytes, and
    otherwise in bfloat16 in files under `cache_dir` (the system's folder for temporary files unless told).

    `executor` spreads the blocks over processes or machines; as many blocks are under way as `token_budget` holds
    tokens for, and at least two. With as many threads in a worker as here, the result is the same, bit for bit.
    With a `resume_dir` each finished block is kept there, and after a stop of any kind the same call goes on from them
    and ends in the same bits; a folder of another recipe, model, seed, Fisher or other scenes is an error and stays as
    it is. It may be removed once the result is saved.

    Raises RecipeError, with one line that says what to change, and FgqError for a Fisher table of another model.
    """
    recipe = find_recipe(recipe, weight_bits, activation_bits, overrides)
    for name, block in model.aggregator.blocks():
        if type(block) is not Block:
            raise RecipeError(f"block {name} is a {type(block).__name__}: quantize the full-precision model instead")
        for site in SITES:
            recipe.check_groups(f"{site.linear} in block {name}", linear_of(block, site).in_features)
    if executor is not None and recipe.block_inputs == "quantized":
        raise RecipeError("with block_inputs='quantized' each block waits for the one before: leave executor away")
    weights = find_weights(recipe, fisher, model)
    if recipe.weighting == "fisher" or recipe.deals_bits:
        recipe = replace(recipe, estimator=fisher.estimator if isinstance(fisher, FisherTable) else None)
    device = torch.device(device or model.device)
    parts = round_parts(model, recipe)
    result = Result(model, in_place, parts, Seen.of(scenes))
    if not scenes and not recipe.needs_scenes:
        for index, (name, block) in enumerate(model.aggregator.blocks()):
            result.take(*round_block(name, block, recipe.of_block(index), block_generator(seed, index)))
        return result.finish(recipe, seed, measure_parts(model, parts, (), recipe.clips_per_step))
    check_scenes(scenes, recipe)
    with moved(model.aggregator, device) if recipe.clip_choice != "all" else nullcontext():
        scenes = clips_of(model, scenes, recipe, seed)
    check_scenes(scenes, recipe)
    shape = tokens_shape(model, scenes)
    layouts = TokenLayouts(model.config, scenes[0].images, device)
    recipe, store = place_tokens(recipe, shape, token_budget, cache_dir)

    def embed() -> Clips:
        with moved(model.aggregator, device, but=("frame_blocks", "global_blocks")):
            return embed_clips(model, scenes, recipe, device, store)

    inputs = None
    if recipe.deals_bits:
        inputs = embed()
        recipe = allocate_bits(model, inputs, layouts, recipe, fisher, seed, store)
    part_logs: tuple[PartLog, ...] = ()
    if parts:
        with moved(model, device):
            part_logs = measure_parts(model, parts, scenes, recipe.clips_per_step)
    plan = describe_calibration(model, scenes, recipe, weights, seed) if resume_dir is not None else {}
    loop = ModelLoop(result, FinishedBlocks(resume_dir, plan), recipe, weights, seed, layouts, store, progress)
    if loop.missing and inputs is None:
        inputs = embed()
    seen = inputs  # as published, no block sees the rounding of what comes before it
    if loop.missing and recipe.block_inputs == "quantized" and "encoder" in parts:
        with exchanged(model, {"encoder": parts["encoder"]}):
            seen = embed()
    waiting = 2 * prod(shape) * getattr(torch, recipe.token_dtype).itemsize  # bytes of a block's inputs and targets
    loop.run(inputs, seen, executor, at_once=max(2, token_budget // waiting))
    return result.finish(recipe, seed, part_logs)


@contextmanager
def moved(module: nn.Module, device: torch.device, but: tuple[str, ...] = ()) -> Iterator[None]:
    """The module on another device while inside, without its children `but`; afterwards where it was."""
    home = next(module.parameters()).device
    parts = [child for name, child in module.named_children() if name not in but]

    def bring(place: torch.device) -> None:
        if home != device:
            for part in parts:
                part.to(place)
            for parameter in module.parameters(recurse=False):
                parameter.data = parameter.data.to(place)

    bring(device)
    try:
        yield
    finally:
        bring(home)


def place_tokens(
    recipe: Recipe, shape: tuple[int, ...], budget: int, cache_dir: str | Path | None
) -> tuple[Recipe, TokenStore]:
    """Memory for the tokens, or files, in which case the recipe says that they are rounded to bfloat16."""
    tensors = 2 if recipe.block_inputs == "full_precision" else 4  # input and output; those of both models
    tensors += recipe.deals_bits  # which runs through the model ahead
    if fits(budget, tensors, shape, getattr(torch, recipe.token_dtype)):
        return recipe, TokenStore()
    return replace(recipe, token_dtype="bfloat16"), TokenStore(cache_dir or tempfile.gettempdir())


def round_block(name: str, block: Block, recipe: Recipe, generator: torch.Generator) -> tuple[nn.Module, BlockLog]:
    """A block of a recipe that looks at no activations."""
    started = time.perf_counter()
    whole = LearnableBlock(block, recipe.block_spec(), generator=generator)
    fixed, seconds = whole.freeze(), time.perf_counter() - started
    return fixed, BlockLog(name, *(None,) * 6, steps=0, kept_epoch=None, seconds=seconds, **whole.condition())


def replace_with_empty_blocks(model: VGGT, recipe: Recipe) -> None:
    """Puts empty quantized blocks into a model, in place, so that a quantized state dict loads into it strictly."""
    for index, (name, _) in enumerate(list(model.aggregator.blocks())):
        model.aggregator.replace_block(name, empty_quantized_block(model.config, recipe.of_block(index).block_spec()))
