"""One block's calibration as a value: all that decides its result, and how its loss is measured."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fgq.affine.learnable_block import Maxima
from fgq.affine.quantized_block import QuantizedBlock
from fgq.calibrate.objective import Weights, block_loss
from fgq.calibrate.recipe import Recipe
from fgq.calibrate.tokens import SceneTokens, TokenLayouts, batches, stream
from fgq.randomness import derived_generator
from fgq.vggt.aggregator import run_block
from fgq.vggt.attention import Block


@dataclass(frozen=True)
class Calibration:
    """What all blocks of a model share: plain values, sizes and one row of weights a block."""

    recipe: Recipe
    weights: Weights
    seed: int
    layouts: TokenLayouts


class Losses(NamedTuple):
    """Means over all calibration scenes."""

    plain: float
    weighted: float  # what is minimised


@dataclass(frozen=True)
class BlockProblem:
    """All that decides one block's result. Every value of it can be pickled, and none holds the rest of the model."""

    index: int  # in running order
    name: str
    block: Block  # full precision, where the model computes
    inputs: SceneTokens
    targets: SceneTokens  # its full-precision output
    input_max: Maxima
    calibration: Calibration

    @property
    def recipe(self) -> Recipe:
        """With the block's own bits."""
        return self.calibration.recipe.of_block(self.index)

    @property
    def generator(self) -> torch.Generator:
        """Fresh, and the same whatever the order in which blocks are calibrated."""
        return derived_generator(self.calibration.seed, self.index)

    def steps(self) -> list[slice]:
        return list(batches(len(self.inputs), self.calibration.recipe.scenes_per_step))

    def stream(self, *tokens: SceneTokens) -> Iterator[tuple[SceneTokens, ...]]:
        return stream(self.calibration.layouts, self.steps(), *tokens)

    def loss(self, block: nn.Module, inputs: SceneTokens, targets: SceneTokens) -> Float[Tensor, ""]:
        output = run_block(block, self.name, inputs, self.calibration.layouts.of(len(inputs)))
        weights = self.calibration.weights[self.index].to(targets.device)
        return block_loss(output.float(), targets, weights)

    @torch.no_grad()
    def measure(self, block: QuantizedBlock) -> Losses:
        plain = weighted = 0.0
        for inputs, targets in self.stream(self.inputs, self.targets):
            output = run_block(block, self.name, inputs, self.calibration.layouts.of(len(inputs)))
            error = (output.float() - targets).square().flatten(0, -2).mean(0, dtype=torch.float64)
            share = len(inputs) / len(self.inputs)
            plain += share * error.mean().item()
            weighted += share * (error * self.calibration.weights[self.index].to(error.device)).mean().item()
        return Losses(plain, weighted)
