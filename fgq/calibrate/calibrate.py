"""`quantize`: the published calibration loop over all blocks (FGQ, arXiv:2605.15828; FlatQuant, arXiv:2410.09426)."""

import copy
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
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
from fgq.calibrate.token_cache import BUDGET
from fgq.calibrate.tokens import (
    TokenLayouts,
    all_finite,
    batches,
    check_scenes,
    embed_clips,
    on_device,
    run_fixed,
    run_full_precision,
)
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
    device: str | torch.device | None = None,
    cache_budget: int = BUDGET,
    cache_dir: str | Path | None = None,
    **overrides: Any,
) -> VGGT:
    """A new model whose aggregator blocks are fixed quantized blocks; `model` is left as it was.

    What is not quantized shares its memory with `model`. Blocks are calibrated on `device` (the model's by default), of
    which only the encoder and then one block at a time are there. The clips' tokens are kept there too if they need at
    most `cache_budget` bytes, else in bfloat16 (0.2 % noise) in an unnamed file under `cache_dir` (the system's folder
    for temporary files by default).

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
    home = model.device
    device = home if device is None else torch.device(device)
    layouts = TokenLayouts(model, scenes[0].images, device)
    folder = None if cache_dir is None else Path(cache_dir)
    # What the block reads in the full-precision model, and what it reads while it is calibrated.
    inputs = seen = embed_clips(model, scenes, recipe, device, cache_budget, folder)
    steps = recipe.epochs * len(list(batches(len(scenes), recipe.clips_per_step))) if recipe.learns else 0
    fixed, logs = [], []
    with tqdm(total=len(blocks) * max(steps, 1), unit="step", disable=not progress) as bar:
        for index, (name, block) in enumerate(blocks):

            def report(epoch: int, loss: float, name: str = name) -> None:
                bar.set_description(f"{name} epoch {epoch}/{recipe.epochs} loss {loss:.2e}", refresh=False)
                bar.update()

            with on_device(block, device):
                targets, input_max = run_full_precision(block, name[0], inputs, layouts, recipe)
                if not all_finite(targets, recipe.clips_per_step):
                    raise RecipeError(
                        f"the full-precision output of block {name} holds NaN or infinity: check the model's weights "
                        "and the calibration images"
                    )
                problem = BlockProblem(name[0], seen, targets, weights[index], layouts)
                generator = block_generator(seed, index)
                quantized, log = calibrate_block(name, block, problem, input_max, recipe, generator, report)
            if log.warning:
                warnings.warn(log.warning, stacklevel=2)
            logs.append(log)
            bar.n = (index + 1) * max(steps, 1)
            bar.set_description(f"{name} loss {log.final_loss:.2e}")
            inputs = seen = targets  # as published, no block sees the rounding of another
            if recipe.block_inputs == "quantized":
                seen = run_fixed(quantized, name[0], problem.inputs, layouts, recipe)
            fixed.append(quantized.to(home))
            del targets, problem  # or they would hold the last block's input while the next output is made
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
    """A copy of the model with other blocks; the rest shares its memory, but moving or casting one leaves the other."""
    pairs = zip(model.aggregator.blocks(), fixed, strict=True)
    replacements = {id(old): new.to(model.dtype) for (_, old), new in pairs}
    for parameter in model.parameters():
        replacements[id(parameter)] = nn.Parameter(parameter.detach(), parameter.requires_grad)
    small = copy.deepcopy(model, memo=replacements)
    small.quantization = Quantization(recipe, seed, tuple(logs))
    return small.eval()


def replace_with_empty_blocks(model: VGGT, recipe: Recipe) -> None:
    """Puts empty quantized blocks into a model, in place, so that a quantized state dict loads into it strictly."""
    for name, _ in list(model.aggregator.blocks()):
        model.aggregator.replace_block(name, empty_quantized_block(model.config, recipe.block_spec()))
