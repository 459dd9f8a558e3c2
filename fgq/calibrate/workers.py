"""Blocks as pieces of work that can be done here, in another process or on another machine."""

import pickle
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait

from fgq.affine.quantized_block import QuantizedBlock
from fgq.calibrate.log import BlockLog
from fgq.calibrate.loop import calibrate_block
from fgq.calibrate.problem import BlockProblem
from fgq.errors import FgqError

Outcome = tuple[QuantizedBlock, BlockLog]


def run_pickled(problem: bytes) -> bytes:
    """In a worker. Plain bytes both ways: they need no shared memory, and are gone when they have arrived."""
    return pickle.dumps(calibrate_block(pickle.loads(problem)))


def run_all(problems: Iterator[BlockProblem], executor: Executor, at_once: int) -> Iterator[Outcome]:
    """Outcomes of all problems as they come in; at most `at_once` wait or run at any time.

    With as many threads in a worker as here, the outcomes are those of `calibrate_block`, bit for bit. When one fails,
    the outcomes that had come in by then are given first. Raises what it raised, where that is an FgqError, and
    otherwise FgqError with the block's name.
    """
    running: dict[Future, str] = {}
    exhausted = False
    while running or not exhausted:
        while not exhausted and len(running) < at_once:
            problem = next(problems, None)
            exhausted = problem is None
            if problem is not None:
                running[submit(executor, problem)] = problem.name
        done = wait(running, return_when=FIRST_COMPLETED).done
        for future in sorted(done, key=lambda future: future.exception() is not None):
            name = running.pop(future)
            if future.exception() is not None:
                for other in running:
                    other.cancel()
                raise_for(name, future.exception())
            yield pickle.loads(future.result())


def submit(executor: Executor, problem: BlockProblem) -> Future:
    try:
        return executor.submit(run_pickled, pickle.dumps(problem))
    except (BrokenExecutor, RuntimeError) as error:
        raise_for(problem.name, error)


def raise_for(name: str, error: BaseException) -> None:
    if isinstance(error, FgqError):
        raise error
    raise FgqError(
        f"block {name}: its worker failed ({type(error).__name__}: {error}); start the workers again and repeat the "
        "call: with a resume_dir, finished blocks are taken up"
    ) from error
