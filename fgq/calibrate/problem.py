"""One block's calibration as a value: all that decides its result, and how its loss is measured."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fgq.affine.learnable_block import Maxima
from fgq.affine.quantized_block import QuantizedBlock
from fgq.calibrate.layouts import SceneTokens, Step, TokenLayouts
from fgq.calibrate.objective import Weights, block_loss
from fgq.calibrate.recipe import Recipe
from fgq.calibrate.tokens import stream
from fgq.fisher.output_factors import BLOCK_OUTPUT
from fgq.quant.output_matrix import OutputMatrix
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
    """Means over all tokens of the calibration scenes: a scene of more frames or larger images counts for more."""

    plain: float
    weighted: float  # what learning minimises
    output: float | None = None  # mean over tokens of Δᵀ H Δ, H the block's output Fisher matrix, where there is one

    @property
    def judged(self) -> float:
        """What decides whether a rounded block is kept: the form that its rounding makes small."""
        return self.weighted if self.output is None else self.output


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
    # What rounding asks for, by site and BLOCK_OUTPUT: H_O, or each token's squares.
    output_fisher: Mapping[str, OutputMatrix | Tensor] | None = None
    exact: SceneTokens | None = None  # what the full-precision model hands the block, where rounding asks for it

    @property
    def recipe(self) -> Recipe:
        """With the block's own bits."""
        return self.calibration.recipe.of_block(self.index)

    @property
    def generator(self) -> torch.Generator:
        """Fresh, and the same whatever the order in which blocks are calibrated."""
        return derived_generator(self.calibration.seed, self.index)

    def steps(self) -> list[Step]:
        return self.calibration.layouts.steps(self.inputs, self.calibration.recipe.scenes_per_step)

    def stream(self, *tokens: SceneTokens) -> Iterator[tuple[SceneTokens, ...]]:
        return stream(self.calibration.layouts, self.steps(), *tokens)

    def loss(self, block: nn.Module, inputs: SceneTokens, targets: SceneTokens) -> Float[Tensor, ""]:
        output = run_block(block, self.name, inputs, self.calibration.layouts.of(len(inputs)))
        weights = self.calibration.weights[self.index].to(targets.device)
        return block_loss(output.float(), targets, weights)

    @torch.no_grad()
    def measure(self, block: QuantizedBlock) -> Losses:
        judge = (self.output_fisher or {}).get(BLOCK_OUTPUT)
        judge = None if isinstance(judge, Tensor) else judge
        plain, weighted, products = 0.0, 0.0, 0.0
        for inputs, targets in self.stream(self.inputs, self.targets):
            output = run_block(block, self.name, inputs, self.calibration.layouts.of(len(inputs)))
            errors = (output.float() - targets).flatten(0, -2)
            squares = errors.square().mean(0, dtype=torch.float64)
            share = inputs.numel() / self.inputs.numel()
            plain += share * squares.mean().item()
            weighted += share * (squares * self.calibration.weights[self.index].to(squares.device)).mean().item()
            if judge is not None:
                products = products + share / len(errors) * (errors.T @ errors).double()
        return Losses(plain, weighted, None if judge is None else judge.apply(products).trace().item())
