"""`quantize`: the published calibration loop over all blocks (FGQ, arXiv:2605.15828; FlatQuant, arXiv:2410.09426)."""

import copy
import time
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from fgq.affine.learnable_block import LearnableBlock
from fgq.affine.quantized_block import empty_quantized_block
from fgq.calibrate.block_loop import BlockProblem, calibrate_block
from fgq.calibrate.log import BlockLog, Quantization
from fgq.calibrate.objective import Weights, find_weights
from fgq.calibrate.recipe import Recipe, RecipeError, find_recipe
from fgq.calibrate.tokens import TokenLayouts, batches, check_scenes, embed_clips, run_fixed, run_full_precision
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
    **overrides: Any,
) -> VGGT:
    """A new model whose aggregator blocks are fixed quantized blocks; `model` is left as it was.

    `recipe` is a name in RECIPES or a Recipe; bits of None keep the recipe's (4 and 4); `overrides` replace its other
    fields. `scenes` are calibration clips of one frame count and size ("rtn" and "quarot" need none, but without them
    the log has no losses). `fisher` is a Fisher table, or calibration weights [blocks, channels]. `model.quantization`
    of the result holds the recipe, the seed and one log a block. Block l draws from (seed, l) alone.
    Raises RecipeError, with one line that says what to change, and FgqError for a Fisher table of another model.
    """
    recipe = find_recipe(recipe, weight_bits, activation_bits, overrides)
    blocks = list(model.aggregator.blocks())
    for name, block in blocks:
        if type(block) is not Block:
            raise RecipeError(f"block {name} is a {type(block).__name__}: quantize the full-precision model instead")
    weights = find_weights(recipe, fisher, model)
    if not scenes and not recipe.needs_scenes:
        return assemble(model, *round_blocks(blocks, recipe, seed), recipe, seed)
    check_scenes(scenes, recipe)
    layouts = TokenLayouts(model, scenes[0].images)
    inputs = seen = embed_clips(model, scenes, recipe)  # of the full-precision model; of the block being calibrated
    steps = recipe.epochs * len(list(batches(len(scenes), recipe.clips_per_step))) if recipe.learns else 0
    fixed, logs = [], []
    with tqdm(total=len(blocks) * max(steps, 1), unit="step", disable=not progress) as bar:
        for index, (name, block) in enumerate(blocks):
            targets, input_max = run_full_precision(block, name[0], inputs, layouts, recipe)
            if not torch.isfinite(targets).all():
                raise RecipeError(
                    f"the full-precision output of block {name} holds NaN or infinity: check the model's weights and "
                    "the calibration images"
                )

            def report(epoch: int, loss: float, name: str = name) -> None:
                bar.set_description(f"{name} epoch {epoch}/{recipe.epochs} loss {loss:.2e}", refresh=False)
                bar.update()

            problem = BlockProblem(name[0], seen, targets, weights[index], layouts)
            generator = block_generator(seed, index)
            quantized, log = calibrate_block(name, block, problem, input_max, recipe, generator, report)
            if log.warning:
                warnings.warn(log.warning, stacklevel=2)
            fixed.append(quantized)
            logs.append(log)
            bar.n = (index + 1) * max(steps, 1)
            bar.set_description(f"{name} loss {log.final_loss:.2e}")
            inputs = seen = targets  # as published, no block sees the rounding of another
            if recipe.block_inputs == "quantized":
                seen = run_fixed(quantized, name[0], problem.inputs, layouts, recipe)
    return assemble(model, fixed, logs, recipe, seed)


def block_generator(seed: int, index: int) -> torch.Generator:
    """Randomness of one block, the same whatever the order in which blocks are calibrated."""
    state = np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


def round_blocks(blocks: list[tuple[str, Block]], recipe: Recipe, seed: int) -> tuple[list[nn.Module], list[BlockLog]]:
    """Blocks of a recipe that looks at no activations."""
    fixed, logs = [], []
    for index, (name, block) in enumerate(blocks):
        started = time.perf_counter()
        start = LearnableBlock(block, recipe.block_spec(), generator=block_generator(seed, index))
        fixed.append(start.freeze())
        logs.append(BlockLog(name, *(None,) * 6, steps=0, kept_epoch=None, seconds=time.perf_counter() - started))
    return fixed, logs


def assemble(model: VGGT, fixed: list[nn.Module], logs: list[BlockLog], recipe: Recipe, seed: int) -> VGGT:
    """A copy of the model with other blocks; the full-precision blocks are not copied first."""
    pairs = zip(model.aggregator.blocks(), fixed, strict=True)
    replacements = {id(old): new.to(model.dtype) for (_, old), new in pairs}
    small = copy.deepcopy(model, memo=replacements)
    small.quantization = Quantization(recipe, seed, tuple(logs))
    return small.eval()


def replace_with_empty_blocks(model: VGGT, recipe: Recipe) -> None:
    """Puts empty quantized blocks into a model, in place, so that a quantized state dict loads into it strictly."""
    for name, _ in list(model.aggregator.blocks()):
        model.aggregator.replace_block(name, empty_quantized_block(model.config, recipe.block_spec()))
