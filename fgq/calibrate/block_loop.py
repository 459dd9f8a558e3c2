"""Calibration of one block: learn its transforms and clips, keep the best, freeze."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from fgq.affine.learnable_block import LearnableBlock, Maxima
from fgq.affine.quantized_block import QuantizedBlock
from fgq.affine.spec import BlockSpec
from fgq.calibrate.log import BlockLog
from fgq.calibrate.objective import block_loss, normalised
from fgq.calibrate.recipe import Recipe
from fgq.calibrate.start import start_block
from fgq.calibrate.tokens import Clips, TokenLayouts, batches, stream
from fgq.vggt.aggregator import run_block
from fgq.vggt.attention import Block

FLOOR = 1e-3  # of the cosine schedule, as a share of the full rate
WARMUP_START = 0.01  # share of the full rate at the first step
ATTEMPTS = 3  # at fitting a block, each with RETREAT times the learning rate of the one before
RETREAT = 0.1

Losses = tuple[float, float]  # unweighted, weighted
Report = Callable[[int, float], None]  # called after a step with the epoch (from 1) and the last epoch's mean loss


def rate_factor(step: int, total: int, warmup: int) -> float:
    """Share of the full learning rate at a step: a cosine to almost nothing times a linear warm-up."""
    cosine = FLOOR + (1 - FLOOR) * (1 + math.cos(math.pi * step / total)) / 2
    if step >= warmup:
        return cosine
    return cosine * (WARMUP_START + (1 - WARMUP_START) * step / warmup)


class BlockProblem:
    """One block's calibration data: its inputs, the outputs to match, and the weights of their channels."""

    def __init__(
        self, name: str, inputs: Clips, targets: Clips, weights: Float[Tensor, " channels"], layouts: TokenLayouts
    ):
        self.name, self.inputs, self.targets, self.layouts = name, inputs, targets, layouts
        self.weights = weights.to(layouts.device)

    def loss(self, block: nn.Module, inputs: Clips, targets: Clips) -> Float[Tensor, ""]:
        output = run_block(block, self.name, inputs, self.layouts.of(len(inputs)))
        return block_loss(output.float(), targets, self.weights)

    @torch.no_grad()
    def measure(self, block: QuantizedBlock, clips_per_step: int) -> Losses:
        """The mean loss over all clips."""
        plain = weighted = 0.0
        steps = batches(len(self.inputs), clips_per_step)
        for inputs, targets in stream(self.layouts, steps, self.inputs, self.targets):
            output = run_block(block, self.name, inputs, self.layouts.of(len(inputs)))
            error = (output.float() - targets).square().flatten(0, -2).mean(0, dtype=torch.float64)
            share = len(inputs) / len(self.inputs)
            plain += share * error.mean().item()
            weighted += share * (error * self.weights).mean().item()
        return plain, weighted


def block_generator(seed: int, index: int) -> torch.Generator:
    """Randomness of one block, the same whatever the order in which blocks are calibrated."""
    state = np.random.SeedSequence([seed % 2**64, index]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


class NotFinite(ArithmeticError):
    """The loss became NaN or infinite."""


def fit(block: LearnableBlock, problem: BlockProblem, recipe: Recipe, report: Report) -> tuple[int, tuple[float, ...]]:
    """Trains the block in place and leaves it with the parameters of its best epoch.

    Returns that epoch's number and the mean loss over the steps of every epoch, of which the best has the lowest.
    Raises NotFinite; then too the block is left at its best epoch, or as it was when there was none.
    """
    groups = [(block.transform_parameters(), 1.0), (block.clip_parameters(), recipe.clip_rate_factor)]
    groups = [{"params": list(parameters), "factor": factor} for parameters, factor in groups if parameters]
    parameters = [parameter for group in groups for parameter in group["params"]]
    optimiser = torch.optim.AdamW(groups, weight_decay=recipe.weight_decay, fused=True)
    steps = list(batches(len(problem.inputs), recipe.clips_per_step))
    total, step, best_epoch, curve = recipe.epochs * len(steps), 0, 0, []
    lowest, best = math.inf, [parameter.detach().clone() for parameter in parameters]
    device = problem.layouts.device.type
    for epoch in range(1, recipe.epochs + 1):
        losses = []
        for inputs, targets in stream(problem.layouts, steps, problem.inputs, problem.targets):
            rate = recipe.learning_rate * rate_factor(step, total, recipe.warmup_steps)
            for group in optimiser.param_groups:
                group["lr"] = rate * group["factor"]
            with torch.autocast(device, torch.bfloat16, enabled=recipe.autocast == "bfloat16"):
                loss = problem.loss(block, inputs, targets)
            optimiser.zero_grad()
            normalised(loss).backward()
            optimiser.step()
            block.keep_invertible()
            losses.append(loss.detach())
            step += 1
            report(epoch, curve[-1] if curve else math.inf)
        mean = torch.stack(losses).mean().item()
        if not math.isfinite(mean):
            restore(parameters, best)
            raise NotFinite(f"the loss became {mean} in epoch {epoch}")
        if mean < lowest:
            lowest, best_epoch = mean, epoch
            best = [parameter.detach().clone() for parameter in parameters]
        curve.append(mean)
    restore(parameters, best)
    return best_epoch, tuple(curve)


@torch.no_grad()
def restore(parameters: list[nn.Parameter], values: list[Tensor]) -> None:
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(value)


@dataclass(frozen=True)
class Learnt:
    """What learning made of a block; `harmful` when no attempt made the loss smaller than it was before."""

    block: QuantizedBlock
    losses: Losses
    epoch: int
    curve: tuple[float, ...]
    rate: float
    harmful: bool


def learn(block: LearnableBlock, problem: BlockProblem, recipe: Recipe, report: Report, initial: Losses) -> Learnt:
    """`fit`, rounded and measured; where that fails, again at a tenth of the rate, a few times.

    After a loss that is not finite, learning goes on from the best epoch; after one that ends above `initial`, from the
    start. Raises NotFinite when the last attempt's loss was not finite.
    """
    parameters = [*block.transform_parameters(), *block.clip_parameters()]
    start = [parameter.detach().clone() for parameter in parameters]
    for attempt in range(ATTEMPTS):
        rate = recipe.learning_rate * RETREAT**attempt
        try:
            epoch, curve = fit(block, problem, replace(recipe, learning_rate=rate), report)
            rounded = round_weights(block, problem, recipe)
            losses = problem.measure(rounded, recipe.clips_per_step)
            if not math.isfinite(losses[1]):
                raise NotFinite(f"the loss of the learnt block is {losses[1]}")
        except NotFinite as failure:
            if attempt + 1 == ATTEMPTS:
                raise failure
            continue
        if losses[1] <= initial[1]:
            return Learnt(rounded, losses, epoch, curve, rate, harmful=False)
        restore(parameters, start)
    return Learnt(rounded, losses, epoch, curve, rate, harmful=True)


def round_weights(block: LearnableBlock, problem: BlockProblem, recipe: Recipe) -> QuantizedBlock:
    """The block with fixed codes, by the recipe's way of rounding."""
    if recipe.rounding == "nearest" or not recipe.rounds_weights:
        return block.freeze()
    hessians: dict[str, Tensor] = {}
    steps = batches(len(problem.inputs), recipe.clips_per_step)
    for (clips,) in stream(problem.layouts, steps, problem.inputs):
        for name, x in block.quantized_inputs(*problem.layouts.of(len(clips)).arguments(problem.name, clips)).items():
            product = x.transpose(1, 2).double() @ x.double()
            hessians[name] = hessians[name] + product if name in hessians else product
    return block.freeze(hessians)


def calibrate_block(
    block: Block,
    problem: BlockProblem,
    input_max: Maxima,
    recipe: Recipe,
    generator: torch.Generator,
    report: Report,
) -> tuple[QuantizedBlock, BlockLog]:
    """One block, from full precision to fixed codes.

    A block whose loss stops being finite, or ends above that of rounding to nearest, is rounded to nearest. One that
    learning made worse than its start stays at its start. The log says so.
    """
    started, name = time.perf_counter(), problem.name
    spec = recipe.block_spec()
    measure = recipe.clips_per_step
    plain_spec = BlockSpec(spec.weight, spec.activation, layer_bits=spec.layer_bits)
    rtn_losses = problem.measure(LearnableBlock(block, plain_spec).freeze(), measure)
    learnable = start_block(block, problem.name, problem.inputs, input_max, problem.layouts, recipe, generator)
    kept = round_weights(learnable, problem, recipe)
    initial = final = problem.measure(kept, measure)
    condition = learnable.condition()
    learnt, failure, warning = None, None, None
    if recipe.learns:
        try:
            learnt = learn(learnable, problem, recipe, report, initial)
            if learnt.harmful:
                warning = f"block {name}: learning raised the loss at every rate tried, so its start was kept"
            else:
                kept, final, condition = learnt.block, learnt.losses, learnable.condition()
                if learnt.rate != recipe.learning_rate:
                    warning = f"block {name}: the loss diverged, so the learning rate was lowered to {learnt.rate:g}"
            if final[1] > rtn_losses[1]:
                failure = f"its loss ends {final[1] / rtn_losses[1]:.3g} times as high as that of rounding to nearest"
        except NotFinite as error:
            failure = str(error)
    if failure:
        learnable.become_neutral()
        kept, condition = learnable.freeze(), learnable.condition()
        final = problem.measure(kept, measure)
        warning = f"block {name}: {failure}, so it was rounded to nearest; try a lower learning_rate"
    steps = recipe.epochs * len(list(batches(len(problem.inputs), measure))) if recipe.learns else 0
    epoch = None if learnt is None or failure else 0 if learnt.harmful else learnt.epoch
    curve, rate = ((), None) if learnt is None else (learnt.curve, learnt.rate)
    seconds = time.perf_counter() - started
    losses = (rtn_losses[0], initial[0], final[0], rtn_losses[1], initial[1], final[1])
    return kept, BlockLog(
        name, *losses, steps, epoch, seconds, warning, **condition, epoch_losses=curve, learning_rate=rate
    )
