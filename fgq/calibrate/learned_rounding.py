"""Rounding that is learnt: of the two codes around each weight of a block, which one, decided for all together.

Each weight sits between its codes by h = clip(1.2 σ(v) - 0.1, 0, 1), v learnt from where the weight is. The block's
error and a term that lets no h stay in the middle, 1 - |2h - 1|^β, are minimised together; β falls from 20 to 2, after
a fifth of the steps without the term. Source: AdaRound (Nagel et al., ICML 2020, eqs. 22-24) for one layer; BRECQ
(arXiv:2102.05426) for a block, with the squared error of each token and channel weighted by the squared gradient there.
BRECQ also learns the step sizes of activations, which here follow from each token.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fgq.affine.learnable_block import LearnableBlock
from fgq.affine.sites import SITES, Site
from fgq.calibrate.problem import BlockProblem
from fgq.fisher.output_factors import BLOCK_OUTPUT
from fgq.quant.gptq import find_steps
from fgq.quant.grid import Grid
from fgq.quant.rounders import Rounder, UpOrDown
from fgq.vggt.aggregator import run_block
from fgq.vggt.attention import RotaryTable

LEAST, MOST = -0.1, 1.1  # of h before it is clipped, so that its ends are reached
RATE = 3e-2  # of Adam; the release's 1e-3 is meant for 20,000 steps
DECISIVENESS = 1000.0  # of the term's mean over weights, against the error over that of rounding to nearest
SHARPEST, BLUNTEST, FREE_SHARE = 20.0, 2.0, 0.2


class SoftWeight(nn.Module):
    """A weight between its two codes."""

    def __init__(self, weight: Float[Tensor, "out width"], grid: Grid):
        super().__init__()
        self.grid = grid
        _, _, step, shift = find_steps(weight, grid)
        below = (weight.double() / step).floor()
        part = ((weight.double() / step - below - LEAST) / (MOST - LEAST)).float()
        self.place = nn.Parameter(torch.log(part / (1 - part)))  # v
        for name, value in (("step", step), ("shift", shift), ("below", below + shift)):
            self.register_buffer(name, value.float().clone())

    def height(self) -> Float[Tensor, "out width"]:
        """h: 0 at the lower code, 1 at the upper one."""
        return (torch.sigmoid(self.place) * (MOST - LEAST) + LEAST).clamp(0, 1)

    def forward(self) -> Float[Tensor, "out width"]:
        codes = (self.below + self.height()).clamp(self.grid.lowest, self.grid.highest)
        return (codes - self.shift) * self.step

    def decided(self) -> Rounder:
        return UpOrDown(self.height() > 0.5)


class SoftBlock(nn.Module):
    """The block with every weight that is rounded between its codes; nothing else in it learns."""

    def __init__(self, block: LearnableBlock):
        super().__init__()
        self.block = block
        with torch.no_grad():
            self.matrices = block.matrices()
            self.prepared = {site.name: block.prepared_weight(site, self.matrices) for site in SITES}
        grids = {site.name: block.spec.weight_at(site) for site in SITES}
        rounded = {name: SoftWeight(self.prepared[name][0], grid) for name, grid in grids.items() if not grid.is_off}
        self.soft = nn.ModuleDict(rounded)

    def forward(
        self, x: Float[Tensor, "batch tokens channels"], rotary: RotaryTable | None = None
    ) -> Float[Tensor, "batch tokens channels"]:
        def rounded(site: Site) -> tuple[Tensor, Tensor]:
            weight, bias = self.prepared[site.name]
            return self.soft[site.name]() if site.name in self.soft else weight, bias

        return self.block.run(x, rotary, self.matrices, rounded)


def learn_rounding(block: LearnableBlock, problem: BlockProblem) -> dict[str, Rounder]:
    """By site, which codes to take. The objective's error is measured in that of rounding to nearest."""
    soft, steps = SoftBlock(block), problem.recipe.rounding_steps
    places = [weight.place for weight in soft.soft.values()]
    optimiser = torch.optim.Adam(places, RATE)
    nearest = sum(error.item() for error in errors(problem, block.freeze())) / len(problem.steps())
    if nearest == 0:
        return {}
    taken = 0
    while taken < steps:
        for error in errors(problem, soft):
            loss = error / nearest + undecided(soft, taken / steps)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            taken += 1
            if taken == steps:
                break
    with torch.no_grad():
        return {name: weight.decided() for name, weight in soft.soft.items()}


def errors(problem: BlockProblem, block: nn.Module) -> Iterator[Float[Tensor, ""]]:
    """Step by step, the mean over tokens and channels of the squared error times the squared gradient there."""
    squares = problem.output_fisher[BLOCK_OUTPUT]
    scale = squares.mean()
    for step, (inputs, targets) in zip(problem.steps(), problem.stream(problem.inputs, problem.targets), strict=True):
        output = run_block(block, problem.name, inputs, problem.calibration.layouts.of(len(inputs)))
        weights = (squares[step] / scale).to(targets).view(targets.shape)
        yield (weights * (output.float() - targets).square()).mean()


def undecided(soft: SoftBlock, progress: float) -> Float[Tensor, ""] | float:
    """The term that drives every h to an end; nothing in the first steps."""
    if progress < FREE_SHARE:
        return 0.0
    done = (progress - FREE_SHARE) / (1 - FREE_SHARE)
    power = SHARPEST + (BLUNTEST - SHARPEST) * done
    terms = [1 - (2 * weight.height() - 1).abs().pow(power) for weight in soft.soft.values()]
    return DECISIVENESS * sum(term.sum() for term in terms) / sum(term.numel() for term in terms)
