"""The calibration of one block as a piece of work that can be done here, in another process or on another machine."""

import pickle
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from fgq.affine.learnable_block import Maxima
from fgq.affine.quantized_block import QuantizedBlock
from fgq.calibrate.block_loop import BlockProblem, Report, block_generator, calibrate_block
from fgq.calibrate.log import BlockLog
from fgq.calibrate.recipe import Recipe
from fgq.calibrate.tokens import Clips, TokenLayouts
from fgq.errors import FgqError
from fgq.vggt.attention import Block

Outcome = tuple[QuantizedBlock, BlockLog]


def say_nothing(epoch: int, loss: float) -> None:
    """For work whose progress nobody sees."""


@dataclass(frozen=True)
class BlockTask:
    """All that decides one block's result. Every value of it can be pickled, and none holds the rest of the model."""

    index: int  # in running order
    name: str
    block: Block  # on the layouts' device
    inputs: Clips
    targets: Clips
    weights: Float[Tensor, " channels"]
    input_max: Maxima
    layouts: TokenLayouts
    recipe: Recipe  # with the block's own bits
    seed: int

    def run(self, report: Report = say_nothing) -> Outcome:
        problem = BlockProblem(self.name, self.inputs, self.targets, self.weights, self.layouts)
        generator = block_generator(self.seed, self.index)
        return calibrate_block(self.block, problem, self.input_max, self.recipe, generator, report)


def run_pickled(task: bytes) -> bytes:
    """In a worker. Plain bytes both ways: they need no shared memory, and are gone when they have arrived."""
    return pickle.dumps(pickle.loads(task).run())


def run_all(tasks: Iterator[BlockTask], executor: Executor, at_once: int) -> Iterator[Outcome]:
    """Outcomes of all tasks as they come in; at most `at_once` tasks wait or run at any time.

    With as many threads in a worker as here, the outcomes are those of `BlockTask.run`, bit for bit. When a task fails,
    the outcomes that had come in by then are given first. Raises what the task raised, where that is an FgqError, and
    otherwise FgqError with the block's name.
    """
    running: dict[Future, str] = {}
    exhausted = False
    while running or not exhausted:
        while not exhausted and len(running) < at_once:
            task = next(tasks, None)
            exhausted = task is None
            if task is not None:
                running[submit(executor, task)] = task.name
        done = wait(running, return_when=FIRST_COMPLETED).done
        for future in sorted(done, key=lambda future: future.exception() is not None):
            name = running.pop(future)
            if future.exception() is not None:
                for other in running:
                    other.cancel()
                raise_for(name, future.exception())
            yield pickle.loads(future.result())


def submit(executor: Executor, task: BlockTask) -> Future:
    try:
        return executor.submit(run_pickled, pickle.dumps(task))
    except (BrokenExecutor, RuntimeError) as error:
        raise_for(task.name, error)


def raise_for(name: str, error: BaseException) -> None:
    if isinstance(error, FgqError):
        raise error
    raise FgqError(
        f"block {name}: its worker failed ({type(error).__name__}: {error}); start the workers again and repeat the "
        "call: with a resume_dir, finished blocks are taken up"
    ) from error
