"""The loop over all blocks of a model: what each reads, what is finished already, and where results go."""

import copy
import math
import warnings
from collections.abc import Iterator
from concurrent.futures import Executor

import torch
from torch import nn
from tqdm.auto import tqdm

from fgq.affine.quantized_block import QuantizedBlock, empty_quantized_block
from fgq.calibrate.block_task import BlockTask, run_all
from fgq.calibrate.log import BlockLog, PartLog, Quantization
from fgq.calibrate.objective import Weights
from fgq.calibrate.parts import PATHS, Parts, install
from fgq.calibrate.recipe import Recipe, RecipeError
from fgq.calibrate.resume import FinishedBlocks
from fgq.calibrate.token_store import TokenStore
from fgq.calibrate.tokens import Clips, TokenLayouts, batches, run_fixed, run_full_precision
from fgq.data.disjoint import Seen
from fgq.vggt.model import VGGT


class Result:
    """The quantized model as it comes into being: block by block in the model itself, or at the end as a copy of it."""

    def __init__(self, model: VGGT, in_place: bool, parts: Parts, seen: Seen):
        self.model, self.in_place, self.parts, self.seen = model, in_place, parts, seen
        self.fixed: dict[str, QuantizedBlock] = {}
        self.logs: dict[str, BlockLog] = {}

    def take(self, block: QuantizedBlock, log: BlockLog) -> None:
        """In any order."""
        self.fixed[log.name] = block = block.to(self.model.device, self.model.dtype)
        self.logs[log.name] = log
        if self.in_place:
            self.model.aggregator.replace_block(log.name, block)

    def finish(self, recipe: Recipe, seed: int, part_logs: tuple[PartLog, ...]) -> VGGT:
        small = self.model
        if not self.in_place:  # the full-precision blocks are not copied first
            pairs = ((block, self.fixed[name]) for name, block in self.model.aggregator.blocks())
            memo = {id(old): new for old, new in pairs}
            memo |= {id(self.model.get_submodule(PATHS[name])): part for name, part in self.parts.items()}
            small = copy.deepcopy(self.model, memo=memo)
        install(small, self.parts)
        logs = tuple(self.logs[name] for name in self.model.config.block_names)
        small.quantization = Quantization(recipe, seed, logs, part_logs, self.seen)
        return small.eval()


class ModelLoop:
    """Calibrates the blocks that are not finished yet and takes up those that are."""

    def __init__(
        self,
        result: Result,
        finished: FinishedBlocks,
        recipe: Recipe,
        weights: Weights,
        seed: int,
        layouts: TokenLayouts,
        store: TokenStore,
        progress: bool,
    ):
        self.result, self.finished, self.recipe, self.weights, self.seed = result, finished, recipe, weights, seed
        self.layouts, self.store, self.progress = layouts, store, progress
        names = result.model.config.block_names
        self.missing = [name for name in names if not finished.has(name)]
        self.last_run = names.index(self.missing[-1]) if self.missing else -1  # tokens are wanted up to this block

    def run(self, inputs: Clips | None, seen: Clips | None, executor: Executor | None, at_once: int) -> None:
        """`inputs` are the first block's in the full-precision model and `seen` those that it will read.

        None where nothing is missing.
        """
        tasks = self.tasks(inputs, seen)
        steps = self.recipe.epochs * len(list(batches(len(inputs), self.recipe.clips_per_step))) if self.missing else 0
        self.steps = max(steps, 1) if self.recipe.learns else 1  # of one block, as the bar counts
        total = self.result.model.config.num_blocks * self.steps
        with tqdm(total=total, unit="step", disable=not self.progress) as self.bar:
            outcomes = map(self.run_here, tasks) if executor is None else run_all(tasks, executor, at_once)
            for block, log in outcomes:
                self.take(block, log)
                self.finished.keep(self.result.fixed[log.name], log)

    def tasks(self, inputs: Clips | None, seen: Clips | None) -> Iterator[BlockTask]:
        """The missing blocks, one after another, as the full-precision model's tokens reach them.

        `seen` is what a block reads while it is calibrated.
        """
        sequential = self.recipe.block_inputs == "quantized"
        for index, (name, resting) in enumerate(self.result.model.aggregator.blocks()):
            own = self.recipe.of_block(index)
            if name not in self.missing:
                with torch.device("meta"):
                    empty = empty_quantized_block(self.result.model.config, own.block_spec())
                self.take(*self.finished.load(name, empty))
            if index > self.last_run:
                continue
            block, device = resting, self.layouts.device
            if resting_elsewhere(resting, device):
                block = copy.deepcopy(resting).to(device)
            targets, input_max = run_full_precision(block, name[0], inputs, self.layouts, self.recipe, self.store)
            if not all(torch.isfinite(clip).all() for clip in targets):
                raise RecipeError(
                    f"the full-precision output of block {name} holds NaN or infinity: check the model's weights and "
                    "the calibration images"
                )
            if name in self.missing:
                weights = self.weights[index]
                yield BlockTask(index, name, block, seen, targets, weights, input_max, self.layouts, own, self.seed)
            inputs = targets  # as published, no block sees the rounding of another
            seen = self.run_quantized(name, seen) if sequential and index < self.last_run else targets

    def run_quantized(self, name: str, seen: Clips) -> Clips:
        block, device = self.result.fixed[name], self.layouts.device
        if resting_elsewhere(block, device):
            block = copy.deepcopy(block).to(device)
        return run_fixed(block, name[0], seen, self.layouts, self.recipe, self.store)

    def run_here(self, task: BlockTask) -> tuple[QuantizedBlock, BlockLog]:
        def report(epoch: int, loss: float) -> None:
            known = f" loss {loss:.2e}" if math.isfinite(loss) else ""  # of the epoch before: the first has none
            shown = f"{task.name} epoch {epoch}/{self.recipe.epochs}{known}"
            self.bar.set_description(shown, refresh=False)
            self.bar.update()

        return task.run(report)

    def take(self, block: QuantizedBlock, log: BlockLog) -> None:
        if log.warning:
            warnings.warn(log.warning, stacklevel=4)  # where `quantize` was called
        self.result.take(block, log)
        self.bar.n = len(self.result.logs) * self.steps
        self.bar.set_description(log.name if log.final_loss is None else f"{log.name} loss {log.final_loss:.2e}")


def resting_elsewhere(block: nn.Module, device: torch.device) -> bool:
    return next(iter(block.state_dict().values())).device != device
