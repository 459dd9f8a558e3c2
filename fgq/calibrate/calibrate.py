"""`quantize`: a full-precision model to one of integer codes, by a recipe; the loop itself is fgq.calibrate.loop."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fgq.affine.learnable_block import LearnableBlock
from fgq.affine.quantized_block import empty_quantized_block
from fgq.affine.sites import SITES, linear_of
from fgq.calibrate.allocate import allocate_bits
from fgq.calibrate.layouts import SceneTokens, layouts_of
from fgq.calibrate.log import BlockLog, PartLog
from fgq.calibrate.objective import Weights, find_weights
from fgq.calibrate.parts import exchanged, measure_parts, round_parts
from fgq.calibrate.problem import Calibration
from fgq.calibrate.recipe import Recipe, RecipeError
from fgq.calibrate.recipes import find_recipe
from fgq.calibrate.resume import describe_calibration, finished_blocks
from fgq.calibrate.round_weights import FromGradients, find_output_fisher
from fgq.calibrate.scene_choice import chosen_scenes
from fgq.calibrate.schedule import Result, Schedule
from fgq.calibrate.token_store import TOKEN_BUDGET, TokenStore, fits
from fgq.calibrate.tokens import check_scenes, embed_scenes, tokens_shape
from fgq.data.disjoint import Seen
from fgq.data.scene import Scene
from fgq.fisher import FisherTable
from fgq.randomness import derived_generator
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
    blocks: Sequence[str] | None = None,
    *,
    progress: bool = True,
    token_budget: int = TOKEN_BUDGET,
    token_dir: str | Path | None = None,
    device: torch.device | str | None = None,
    in_place: bool = False,
    executor: Executor | None = None,
    resume_dir: str | Path | None = None,
    **overrides: Any,
) -> VGGT:
    """A new model whose aggregator blocks are fixed quantized blocks; `model` is left as it was.

    `recipe` is a name in RECIPES or a Recipe; bits of None keep the recipe's (4 and 4); `overrides` replace its other
    fields. With a `bit_budget` the table `fisher` deals weight bits to the blocks first, with an `operation_budget`
    those of activations too, and the result's recipe states them. `scenes` may differ in frames and sizes (what counts
    how much then: fgq.calibrate.layouts). "rtn" and "quarot" need none, but without them the log has no losses; the
    recipe may choose some of them (`num_scenes`, `scene_choice`). `fisher` is a Fisher table, or calibration weights
    [blocks, channels]. `blocks` names those to quantize, such as ["F0", "G2"]; the others stay in full precision. Where
    the recipe says so, the encoder and the camera head are rounded too (see fgq.calibrate.parts).
    `model.quantization` of the result holds the recipe, the seed, one log a block and the scenes. Block l draws from
    (seed, l) alone.

    With `in_place` it is `model` itself whose blocks are exchanged, each as soon as it is finished, so that at no time
    there are two models; after an error, the blocks that were finished stay exchanged. The work is done on `device`
    (the model's own unless told), where the encoder comes first and then one block at a time.
    Between the blocks the scenes' tokens are kept in the host's memory, whatever the device, which gets those of a step
    at a time and the next ones ahead: as long as they take at most `token_budget` bytes, and otherwise in bfloat16 in
    files under `token_dir` (the system's folder for temporary files unless told).

    `executor` spreads the blocks over processes or machines; as many blocks are under way as `token_budget` holds
    tokens for, and at least two. With as many threads in a worker as here, the result is the same, bit for bit. Workers
    must be trusted: their results are pickles, which can run anything where they arrive.
    With a `resume_dir` each finished block is kept there, and after a stop of any kind the same call goes on from them
    and ends in the same bits; a folder of another recipe, model, seed, Fisher or other scenes is an error and stays as
    it is, and so is one that was begun with another number of threads, device, torch or fgq, or that is in use. It may
    be removed once the result is saved.

    Raises RecipeError, with one line that says what to change, and FgqError for a Fisher table of another model.
    """
    recipe = find_recipe(recipe, weight_bits, activation_bits, overrides)
    wanted = check_blocks(model, recipe, blocks)
    if executor is not None and recipe.block_inputs == "quantized":
        raise RecipeError("with block_inputs='quantized' each block waits for the one before: leave executor away")
    weights = find_weights(recipe, fisher, model)
    origin = None
    if recipe.weighting == "fisher" or recipe.deals_bits:
        origin = fisher.origin() if isinstance(fisher, FisherTable) else None
        recipe = replace(recipe, estimator=None if origin is None else origin["estimator"])
    result = Result(model, in_place, round_parts(model, recipe), Seen.of(scenes), origin)
    if not scenes and not recipe.needs_scenes:
        return round_blindly(result, wanted, recipe, seed)
    check_scenes(scenes, recipe)
    device = torch.device(device or model.device)
    with moved(model.aggregator, device) if recipe.scene_choice != "all" else nullcontext():
        scenes = chosen_scenes(model, scenes, recipe, seed)
    check_scenes(scenes, recipe)
    recipe, store = place_tokens(recipe, tokens_shape(model, scenes), token_budget, token_dir)
    calibration = Calibration(recipe, weights, seed, layouts_of(model.config, scenes, device))
    workshop = Workshop(store, token_budget, executor, resume_dir, progress)
    return calibrate(result, scenes, wanted, calibration, fisher, workshop)


@dataclass(frozen=True)
class Workshop:
    """What decides how the work is done, and nothing of its result."""

    store: TokenStore
    token_budget: int
    executor: Executor | None
    resume_dir: str | Path | None
    progress: bool


def calibrate(
    result: Result,
    scenes: Sequence[Scene],
    wanted: set[str],
    calibration: Calibration,
    fisher: FisherTable | Weights | None,
    workshop: Workshop,
) -> VGGT:
    """Bits are dealt where they are to be, then what is not finished yet is calibrated."""
    model, recipe, seed = result.model, calibration.recipe, calibration.seed
    device, store, parts = calibration.layouts.device, workshop.store, result.parts

    def embed() -> SceneTokens:
        with moved(model.aggregator, device, but=("frame_blocks", "global_blocks")):
            return embed_scenes(model, scenes, recipe, device, store)

    inputs = None
    if recipe.deals_bits:
        inputs = embed()
        recipe = allocate_bits(model, inputs, fisher, calibration, store)
        calibration = replace(calibration, recipe=recipe)
    part_logs: tuple[PartLog, ...] = ()
    if parts:
        with moved(model, device):
            part_logs = measure_parts(model, parts, scenes, recipe.scenes_per_step)
    resume_dir, weights = workshop.resume_dir, calibration.weights
    plan = describe_calibration(model, scenes, recipe, weights, seed, device) if resume_dir is not None else {}
    with finished_blocks(resume_dir, plan) as finished:
        schedule = Schedule(result, finished, wanted, calibration, workshop.progress)
        if schedule.missing and inputs is None:
            inputs = embed()
        seen = inputs  # as published, no block sees the rounding of what comes before it
        if schedule.missing and recipe.block_inputs == "quantized" and "encoder" in parts:
            with exchanged(model, {"encoder": parts["encoder"]}):
                seen = embed()
        dtype = getattr(torch, recipe.token_dtype)
        waiting = 2 * prod(tokens_shape(model, scenes)) * dtype.itemsize  # bytes of a block's inputs and targets
        at_once = max(2, workshop.token_budget // waiting)
        output_fisher: FromGradients = {}
        if schedule.missing and recipe.needs_gradients:
            with moved(model, device):
                output_fisher = find_output_fisher(model, scenes, calibration, schedule.missing, workshop.progress)
        schedule.run(inputs, seen, store, workshop.executor, at_once, output_fisher)
    return result.finish(recipe, seed, part_logs)


def round_blindly(result: Result, wanted: set[str], recipe: Recipe, seed: int) -> VGGT:
    """By a recipe that looks at no activations."""
    model = result.model
    for index, (name, block) in enumerate(model.aggregator.blocks()):
        if name in wanted:
            result.take(*round_block(name, block, recipe.of_block(index), derived_generator(seed, index)))
            result.exchange(name)
    return result.finish(recipe, seed, measure_parts(model, result.parts, (), recipe.scenes_per_step))


def check_blocks(model: VGGT, recipe: Recipe, blocks: Sequence[str] | None) -> set[str]:
    """Names of the blocks to quantize: all unless told. Raises RecipeError for one that is unknown or cannot be."""
    known = model.config.block_names
    wanted = set(known if blocks is None else blocks)
    unknown = [name for name in wanted if name not in known]
    if unknown or not wanted:
        raise RecipeError(f"blocks {list(blocks)}: name some of the model's blocks {known[0]} to {known[-1]}")
    if wanted != set(known) and recipe.block_inputs == "quantized":
        raise RecipeError("with block_inputs='quantized' every block is quantized: leave blocks away")
    for name, block in model.aggregator.blocks():
        if type(block) is not Block:
            raise RecipeError(f"block {name} is a {type(block).__name__}: quantize the full-precision model instead")
        for site in SITES:
            recipe.check_groups(f"{site.linear} in block {name}", linear_of(block, site).in_features)
    return wanted


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
    recipe: Recipe, shape: tuple[int, ...], budget: int, token_dir: str | Path | None
) -> tuple[Recipe, TokenStore]:
    """Memory for the tokens, or files, in which case the recipe says that they are rounded to bfloat16."""
    tensors = 2 if recipe.block_inputs == "full_precision" else 4  # input and output; those of both models
    tensors += recipe.deals_bits  # which runs through the model ahead
    if fits(budget, tensors, shape, getattr(torch, recipe.token_dtype)):
        return recipe, TokenStore()
    return replace(recipe, token_dtype="bfloat16"), TokenStore(token_dir or tempfile.gettempdir())


def round_block(name: str, block: Block, recipe: Recipe, generator: torch.Generator) -> tuple[nn.Module, BlockLog]:
    """A block of a recipe that looks at no activations."""
    started = time.perf_counter()
    whole = LearnableBlock(block, recipe.block_spec(), generator=generator)
    fixed, seconds = whole.freeze(), time.perf_counter() - started
    return fixed, BlockLog(name, seconds=seconds, **whole.condition())


def replace_with_empty_blocks(model: VGGT, recipe: Recipe) -> None:
    """Puts empty quantized blocks into a model, in place, so that a quantized state dict loads into it strictly."""
    for index, (name, _) in enumerate(list(model.aggregator.blocks())):
        model.aggregator.replace_block(name, empty_quantized_block(model.config, recipe.of_block(index).block_spec()))
