"""Blocks that are calibrated elsewhere: the same bits as here, and no loss when a worker dies."""

import os
import pickle
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import pytest
import torch

from fgq.calibrate import RecipeError
from fgq.calibrate.calibrate import quantize
from fgq.calibrate.workers import run_pickled
from fgq.data.scene import Scene
from fgq.errors import FgqError
from fgq.vggt.weights import fingerprint

pytestmark = pytest.mark.filterwarnings("ignore:.*so its start was kept")
QUICK = dict(epochs=2, warmup_steps=2, progress=False)


@pytest.fixture
def model(build_toy):
    return build_toy(embed_dim=32)


@pytest.fixture
def scenes():
    generator = torch.Generator().manual_seed(5)
    return [Scene(f"s{i}", torch.rand(2, 3, 16, 16, generator=generator)) for i in range(4)]


class Recorded(Executor):
    """Runs a task when its result is asked for, the newest first, and records how many are under way."""

    def __init__(self):
        self.sent, self.most, self.waiting = [], 0, []

    def submit(self, work, packed):
        future = LateFuture(lambda: work(packed))
        self.sent.append(packed)
        self.waiting.append(future)
        self.most = max(self.most, len([future for future in self.waiting if not future.done()]))
        if len(self.waiting) % 2 == 0:
            for late in reversed(self.waiting):
                late.finish()
        return future


class LateFuture(Future):
    def __init__(self, work):
        super().__init__()
        self.work = work

    def finish(self):
        if not self.done():
            self.set_result(self.work())


@pytest.mark.parametrize("pool", ["threads", "processes", "late"])
@pytest.mark.parametrize("in_place, rounding", [(False, "nearest"), (True, "nearest"), (True, "two_sided")])
def test_an_executor_gives_the_same_bits(model, scenes, pool, in_place, rounding):
    options = dict(rounding=rounding, **QUICK)
    here = quantize(model, scenes, "flatquant", **options)
    if pool == "late":
        executor = Recorded()
    elif pool == "threads":
        executor = ThreadPoolExecutor(2)
    else:
        executor = ProcessPoolExecutor(2, mp_context=get_context("fork"))
    with executor:
        spread = quantize(model, scenes, "flatquant", executor=executor, in_place=in_place, **options)
    assert fingerprint(spread) == fingerprint(here)
    assert [log.name for log in spread.quantization.blocks] == ["F0", "G0", "F1", "G1"]
    pairs = zip(spread.quantization.blocks, here.quantization.blocks, strict=True)
    assert all(one.final_loss == other.final_loss for one, other in pairs)


def test_only_as_many_blocks_are_under_way_as_the_budget_holds_tokens_for(model, scenes):
    executor = Recorded()
    quantize(model, scenes, "flatquant", executor=executor, token_budget=0, **QUICK)  # which means two
    assert executor.most == 2 and len(executor.sent) == 4


def test_a_task_holds_no_more_of_the_model_than_its_block(model, scenes):
    executor = Recorded()
    quantize(model, scenes, "flatquant", executor=executor, **QUICK)
    task = pickle.loads(executor.sent[0])
    held = sum(parameter.nbytes for parameter in task.block.parameters()) + task.inputs.nbytes + task.targets.nbytes
    assert len(executor.sent[0]) < 1.2 * held + 20_000
    assert len(executor.sent[0]) < sum(parameter.nbytes for parameter in model.parameters())


def die_once(packed, mark):
    """The process that calibrates block F1 dies the first time, as a machine that is switched off would."""
    if pickle.loads(packed).name == "F1" and not mark.exists():
        mark.touch()
        os._exit(9)
    return run_pickled(packed)


class Changed(ProcessPoolExecutor):
    """A pool whose workers run something else than they are asked to."""

    def __init__(self, work, *more):
        super().__init__(1, mp_context=get_context("fork"))
        self.work, self.more = work, more

    def submit(self, work, packed):
        return super().submit(self.work, packed, *self.more)


def test_a_worker_that_dies_is_named_and_finished_blocks_are_kept(model, scenes, tmp_path):
    mark, blocks = tmp_path / "mark", tmp_path / "blocks"
    options = dict(resume_dir=blocks, token_budget=0) | QUICK
    with Changed(die_once, mark) as executor, pytest.raises(FgqError, match="its worker failed .*resume_dir"):
        quantize(model, scenes, "flatquant", executor=executor, **options)
    assert (blocks / "F0.safetensors").exists() and not (blocks / "G1.safetensors").exists()
    with Changed(die_once, mark) as executor:
        resumed = quantize(model, scenes, "flatquant", executor=executor, **options)
    assert fingerprint(resumed) == fingerprint(quantize(model, scenes, "flatquant", token_budget=0, **QUICK))


def test_a_pool_that_is_closed_is_named(model, scenes):
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    with pytest.raises(FgqError, match="block F0: its worker failed"):
        quantize(model, scenes, "flatquant", executor=executor, **QUICK)


def test_an_error_of_ours_comes_back_as_it_is(model, scenes):
    with ThreadPoolExecutor(2) as executor:
        model.aggregator.frame_blocks[1].mlp.fc2.weight.data[0, 0] = float("nan")
        with pytest.raises(RecipeError, match="full-precision output of block F1 holds NaN"):
            quantize(model, scenes, "flatquant", executor=executor, **QUICK)


def test_blocks_that_read_each_other_s_rounding_cannot_be_spread(model, scenes):
    with ThreadPoolExecutor(1) as executor, pytest.raises(RecipeError, match="leave executor away"):
        quantize(model, scenes, "flatquant", block_inputs="quantized", executor=executor, **QUICK)
