"""Who calibrates which block: what is finished already, what runs here or elsewhere, and where results go."""

import copy
import math
import warnings
from collections.abc import Iterator
from concurrent.futures import Executor
from typing import Any

import torch
from tqdm.auto import tqdm

from fgq.affine.quantized_block import QuantizedBlock, empty_quantized_block
from fgq.calibrate.layouts import SceneTokens
from fgq.calibrate.log import BlockLog, PartLog, Quantization
from fgq.calibrate.loop import block_problems, calibrate_block
from fgq.calibrate.parts import Parts, install
from fgq.calibrate.problem import BlockProblem, Calibration
from fgq.calibrate.recipe import Recipe
from fgq.calibrate.resume import FinishedBlocks
from fgq.calibrate.round_weights import FromGradients
from fgq.calibrate.token_store import TokenStore
from fgq.calibrate.workers import run_all
from fgq.data.disjoint import Seen
from fgq.vggt.model import VGGT
from fgq.vggt.saved import PARTS


class Result:
    """The quantized model as it comes into being: block by block in the model itself, or at the end as a copy of it."""

    def __init__(self, model: VGGT, in_place: bool, parts: Parts, seen: Seen, fisher: dict[str, Any] | None = None):
        self.model, self.in_place, self.parts, self.seen, self.fisher = model, in_place, parts, seen, fisher
        self.fixed: dict[str, QuantizedBlock] = {}
        self.logs: dict[str, BlockLog] = {}

    def take(self, block: QuantizedBlock, log: BlockLog) -> None:
        """In any order."""
        self.fixed[log.name] = block.to(self.model.device, self.model.dtype)
        self.logs[log.name] = log

    def exchange(self, name: str) -> None:
        """Where the model itself is the result, its full-precision block is not needed any more."""
        if self.in_place:
            self.model.aggregator.replace_block(name, self.fixed[name])

    def finish(self, recipe: Recipe, seed: int, part_logs: tuple[PartLog, ...]) -> VGGT:
        small = self.model
        if not self.in_place:  # the full-precision blocks are not copied first
            pairs = ((block, self.fixed.get(name, block)) for name, block in self.model.aggregator.blocks())
            memo = {id(old): new for old, new in pairs if new is not old}
            memo |= {id(self.model.get_submodule(PARTS[name])): part for name, part in self.parts.items()}
            small = copy.deepcopy(self.model, memo=memo)
        install(small, self.parts)
        logs = tuple(self.logs[name] for name in self.model.config.block_names if name in self.logs)
        small.quantization = Quantization(recipe, seed, logs, part_logs, self.seen, self.fisher)
        return small.eval()


class Schedule:
    """Calibrates those of the `wanted` blocks that are not finished yet, and takes up those that are."""

    def __init__(
        self, result: Result, finished: FinishedBlocks, wanted: set[str], calibration: Calibration, progress: bool
    ):
        self.result, self.finished, self.calibration, self.progress = result, finished, calibration, progress
        self.wanted = wanted
        self.missing = {name for name in wanted if not finished.has(name)}

    def run(
        self,
        inputs: SceneTokens | None,
        seen: SceneTokens | None,
        store: TokenStore,
        executor: Executor | None,
        at_once: int,
        output_fisher: FromGradients,
    ) -> None:
        """`inputs` are the first block's in the full-precision model and `seen` those that it will read.

        None where nothing is missing. `output_fisher` is of the missing blocks, where their rounding asks for it.
        """
        recipe, model, layouts = self.calibration.recipe, self.result.model, self.calibration.layouts
        steps = recipe.epochs * len(layouts.steps(inputs, recipe.scenes_per_step)) if self.missing else 0
        self.steps = max(steps, 1) if recipe.learns else 1  # of one block, as the bar counts
        with tqdm(total=len(self.wanted) * self.steps, unit="step", disable=not self.progress) as self.bar:
            self.take_up_finished()
            problems: Iterator[BlockProblem] = iter(())
            if inputs is not None:
                fixed = self.result.fixed
                problems = block_problems(
                    model, inputs, seen, self.missing, self.calibration, store, fixed, output_fisher
                )
            outcomes = map(self.run_here, problems) if executor is None else run_all(problems, executor, at_once)
            for block, log in outcomes:
                self.take(block, log)
                self.result.exchange(log.name)
                self.finished.keep(self.result.fixed[log.name], log)
            for name in self.wanted - self.missing:  # until now their tokens were wanted in full precision
                self.result.exchange(name)

    def take_up_finished(self) -> None:
        config = self.result.model.config
        for index, name in enumerate(config.block_names):
            if name in self.wanted - self.missing:
                with torch.device("meta"):
                    empty = empty_quantized_block(config, self.calibration.recipe.of_block(index).block_spec())
                self.take(*self.finished.load(name, empty))

    def run_here(self, problem: BlockProblem) -> tuple[QuantizedBlock, BlockLog]:
        def report(epoch: int, loss: float) -> None:
            known = f" loss {loss:.2e}" if math.isfinite(loss) else ""  # of the epoch before: the first has none
            shown = f"{problem.name} epoch {epoch}/{problem.recipe.epochs}{known}"
            self.bar.set_description(shown, refresh=False)
            self.bar.update()

        return calibrate_block(problem, report)

    def take(self, block: QuantizedBlock, log: BlockLog) -> None:
        if log.warning:
            warnings.warn(log.warning, stacklevel=4)  # where `quantize` was called
        self.result.take(block, log)
        self.bar.n = len(self.result.logs) * self.steps
        self.bar.set_description(log.name if log.final_loss is None else f"{log.name} loss {log.final_loss:.2e}")
