"""The published calibration loop, from the first block to the last (FGQ, arXiv:2605.15828, after FlatQuant).

    h = embedded scenes                                               quantize
    for each block l, in running order                                block_problems
        h_l = full-precision output of block l for h                  tokens.run_full_precision
        transforms and clips start by what the scenes show            start_block
        for each epoch, for each step of a few scenes                 fit
            loss = mean over tokens and channels of w_l (h_l - ĥ_l)²  objective.block_loss
            AdamW on loss over its own value                          objective.normalised
        keep the best epoch, round, and fold what folds               round_weights, freeze
        h = h_l

No block sees the rounding of another, so blocks are problems of their own: they can be calibrated in any order, in any
process, and taken up again after a stop (fgq.calibrate.schedule).
"""

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch
from torch import Tensor, nn

from fgq.affine.learnable_block import LearnableBlock
from fgq.affine.quantized_block import QuantizedBlock
from fgq.calibrate.layouts import SceneTokens
from fgq.calibrate.log import BlockLog
from fgq.calibrate.objective import normalised
from fgq.calibrate.problem import BlockProblem, Calibration, Losses
from fgq.calibrate.recipe import RecipeError
from fgq.calibrate.round_weights import round_weights
from fgq.calibrate.start import start_block
from fgq.calibrate.token_store import TokenStore
from fgq.calibrate.tokens import run_fixed, run_full_precision
from fgq.quant.output_matrix import OutputMatrix
from fgq.vggt.model import VGGT

FLOOR = 1e-3  # of the cosine schedule, as a share of the full rate
WARMUP_START = 0.01  # share of the full rate at the first step
ATTEMPTS = 3  # at fitting a block, each with RETREAT times the learning rate of the one before
RETREAT = 0.1

Report = Callable[[int, float], None]  # called after a step with the epoch (from 1) and the last epoch's mean loss


def block_problems(
    model: VGGT,
    inputs: SceneTokens,
    seen: SceneTokens,
    wanted: set[str],
    calibration: Calibration,
    store: TokenStore,
    quantized: dict[str, QuantizedBlock],
    output_fisher: Mapping[str, Mapping[str, OutputMatrix | Tensor]] = MappingProxyType({}),
) -> Iterator[BlockProblem]:
    """The `wanted` blocks, one after another, as the full-precision model's tokens reach them.

    `inputs` are the first block's in the full-precision model, `seen` those that it reads while it is calibrated. Where
    the recipe lets blocks read what they will read, each waits for the one before it, found in `quantized` by then.
    `output_fisher` holds what their rounding needs of gradients, by block.
    Raises RecipeError for tokens that are not finite.
    """
    recipe, layouts = calibration.recipe, calibration.layouts
    names = model.config.block_names
    last = max(names.index(name) for name in wanted)  # tokens are wanted up to this block
    for index, (name, resting) in enumerate(model.aggregator.blocks()):
        if index > last:
            break
        block = brought(resting, layouts.device)
        targets, input_max = run_full_precision(block, name, inputs, layouts, recipe, store)
        if not all(torch.isfinite(targets[step]).all() for step in layouts.steps(targets, recipe.scenes_per_step)):
            raise RecipeError(
                f"the full-precision output of block {name} holds NaN or infinity: check the model's weights and the "
                "calibration images"
            )
        if name in wanted:
            exact = inputs if recipe.rounding == "gptaq" else None
            fisher = output_fisher.get(name)
            yield BlockProblem(index, name, block, seen, targets, input_max, calibration, fisher, exact)
        inputs = targets  # as published, no block sees the rounding of another
        if recipe.block_inputs == "quantized" and index < last:
            seen = run_fixed(brought(quantized[name], layouts.device), name, seen, layouts, recipe, store)
        else:
            seen = targets


def brought(block: nn.Module, device: torch.device) -> nn.Module:
    """The block itself where it is on the device, else a copy that is."""
    here = next(iter(block.state_dict().values())).device == device
    return block if here else copy.deepcopy(block).to(device)


@dataclass(frozen=True)
class Kept:
    """A rounded block, and how it came about; by its fields' defaults, the start of a block that learns nothing."""

    block: QuantizedBlock
    losses: Losses
    condition: dict[str, float]
    epoch: int | None = None  # from 1; 0 is the start, None when nothing was learnt
    curve: tuple[float, ...] = ()  # the objective's mean over the steps of each epoch
    rate: float | None = None  # of learning, in the attempt that was kept
    warning: str | None = None


def say_nothing(epoch: int, loss: float) -> None:
    """For work whose progress nobody sees."""


def calibrate_block(problem: BlockProblem, report: Report = say_nothing) -> tuple[QuantizedBlock, BlockLog]:
    """One block, from full precision to fixed codes.

    A block whose loss stops being finite, or ends above that of rounding to nearest, is rounded to nearest. One that
    learning made worse than its start stays at its start. The log says so.
    """
    began, recipe = time.perf_counter(), problem.recipe
    spec = recipe.block_spec()
    plain = replace(spec, transforms="none", clipping="none")
    rtn = problem.measure(LearnableBlock(problem.block, plain).freeze())
    learnable = start_block(problem)
    start = kept = Kept(*round_weights(learnable, problem), learnable.condition())
    if recipe.learns:
        kept = learn(learnable, problem, start, report)
        if not math.isfinite(kept.losses.judged):
            kept = round_to_nearest(learnable, problem, kept, kept.warning)
        elif kept.losses.judged > rtn.judged:
            ratio = kept.losses.judged / rtn.judged
            why = f"its loss ends {ratio:.3g} times as high as that of rounding to nearest"
            kept = round_to_nearest(learnable, problem, kept, why)
    log = BlockLog(
        problem.name,
        rtn_loss=rtn.plain,
        initial_loss=start.losses.plain,
        final_loss=kept.losses.plain,
        rtn_weighted_loss=rtn.weighted,
        initial_weighted_loss=start.losses.weighted,
        final_weighted_loss=kept.losses.weighted,
        steps=recipe.epochs * len(problem.steps()) if recipe.learns else 0,
        kept_epoch=kept.epoch,
        seconds=time.perf_counter() - began,
        warning=kept.warning,
        epoch_losses=kept.curve,
        learning_rate=kept.rate,
        **kept.condition,
    )
    return kept.block, log


def learn(block: LearnableBlock, problem: BlockProblem, start: Kept, report: Report) -> Kept:
    """`fit`, rounded and measured; where that fails, again at a tenth of the rate, a few times.

    After a loss that is not finite, learning goes on from the best epoch; after one that ends above the start's, from
    the start, which is kept when no attempt made it smaller. The result's loss is infinite, with the reason in
    `warning`, when the last attempt's was not finite.
    """
    parameters = [*block.transform_parameters(), *block.clip_parameters()]
    before = [parameter.detach().clone() for parameter in parameters]
    kept = start
    for attempt in range(ATTEMPTS):
        rate = problem.recipe.learning_rate * RETREAT**attempt
        epoch, curve = fit(block, problem, rate, report)
        if not math.isfinite(curve[-1]):
            why = f"the loss became {curve[-1]} in epoch {len(curve)}"
            kept = replace(start, losses=Losses(math.inf, math.inf), warning=why)
            continue
        rounded, losses = round_weights(block, problem)
        if not math.isfinite(losses.judged):
            why = f"the loss of the learnt block is {losses.judged}"
            kept = replace(start, losses=Losses(math.inf, math.inf), warning=why)
            continue
        if losses.judged <= start.losses.judged:
            lowered = f"block {problem.name}: the loss diverged, so the learning rate was lowered to {rate:g}"
            return Kept(rounded, losses, block.condition(), epoch, curve, rate, lowered if attempt else None)
        restore(parameters, before)
        why = f"block {problem.name}: learning raised the loss at every rate tried, so its start was kept"
        kept = replace(start, epoch=0, curve=curve, rate=rate, warning=why)
    return kept


def fit(block: LearnableBlock, problem: BlockProblem, rate: float, report: Report) -> tuple[int, tuple[float, ...]]:
    """Trains the block in place and leaves it with the parameters of its best epoch, or as it was if there was none.

    Returns that epoch's number and the mean loss over the steps of every epoch, of which the best has the lowest. It
    ends with the first epoch whose loss is not finite.
    """
    recipe = problem.recipe
    groups = [(block.transform_parameters(), 1.0), (block.clip_parameters(), recipe.clip_rate_factor)]
    groups = [{"params": list(parameters), "factor": factor} for parameters, factor in groups if parameters]
    parameters = [parameter for group in groups for parameter in group["params"]]
    optimiser = torch.optim.AdamW(groups, weight_decay=recipe.weight_decay, fused=True)
    total, step, best_epoch, curve = recipe.epochs * len(problem.steps()), 0, 0, []
    lowest, best = math.inf, [parameter.detach().clone() for parameter in parameters]
    device = problem.calibration.layouts.device.type
    for epoch in range(1, recipe.epochs + 1):
        losses = []
        for inputs, targets in problem.stream(problem.inputs, problem.targets):
            for group in optimiser.param_groups:
                group["lr"] = rate * rate_factor(step, total, recipe.warmup_steps) * group["factor"]
            with torch.autocast(device, torch.bfloat16, enabled=recipe.autocast == "bfloat16"):
                loss = problem.loss(block, inputs, targets)
            optimiser.zero_grad()
            normalised(loss).backward()
            optimiser.step()
            block.keep_invertible()
            losses.append(loss.detach())
            step += 1
            report(epoch, curve[-1] if curve else math.inf)
        curve.append(torch.stack(losses).mean().item())
        if not math.isfinite(curve[-1]):
            break
        if curve[-1] < lowest:
            lowest, best_epoch = curve[-1], epoch
            best = [parameter.detach().clone() for parameter in parameters]
    restore(parameters, best)
    return best_epoch, tuple(curve)


def rate_factor(step: int, total: int, warmup: int) -> float:
    """Share of the full learning rate at a step: a cosine to almost nothing times a linear warm-up."""
    cosine = FLOOR + (1 - FLOOR) * (1 + math.cos(math.pi * step / total)) / 2
    if step >= warmup:
        return cosine
    return cosine * (WARMUP_START + (1 - WARMUP_START) * step / warmup)


@torch.no_grad()
def restore(parameters: list[nn.Parameter], values: list[Tensor]) -> None:
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(value)


def round_to_nearest(block: LearnableBlock, problem: BlockProblem, tried: Kept, why: str) -> Kept:
    """The block in the same shape without anything learnt, where learning failed for the reason given."""
    block.become_neutral()
    rounded = block.freeze()
    warning = f"block {problem.name}: {why}, so it was rounded to nearest; try a lower learning_rate"
    return Kept(rounded, problem.measure(rounded), block.condition(), None, tried.curve, tried.rate, warning)
