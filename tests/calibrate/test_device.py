"""Tokens rest in the host's memory, and the device where blocks are calibrated gets those of a few steps at a time."""

import threading
import weakref

import pytest
import torch

from fgq.affine.sites import SITES, linear_of
from fgq.calibrate import quantize
from fgq.calibrate.layouts import TokenLayouts
from fgq.calibrate.token_store import TokenStore
from fgq.data.scene import Scene

pytestmark = pytest.mark.filterwarnings("ignore:block .*(rate was lowered|start was kept|rounded to nearest)")
QUICK = dict(recipe="flatquant", epochs=1, warmup_steps=2, blocks=["F0"], progress=False)
SHAPES = {"equal": ((2, 16, 16),), "unequal": ((3, 16, 16), (2, 16, 24), (1, 16, 16))}  # frames, height, width


def make_scenes(count, shapes=SHAPES["equal"]):
    generator = torch.Generator().manual_seed(5)
    sizes = (shapes * count)[:count]
    return [Scene(f"s{i}", torch.rand(f, 3, h, w, generator=generator)) for i, (f, h, w) in enumerate(sizes)]


class DeviceSpy:
    """Counts the bytes of what is brought to the device, from then until nothing holds it any more."""

    def __init__(self, monkeypatch):
        self.held = self.peak = self.largest = 0
        self.stored: list[torch.Tensor] = []
        self.lock = threading.RLock()  # a tensor may be let go while another one is counted
        empty = TokenStore.empty

        def bring(layouts, tokens):
            arrived = tokens.float().clone()  # as a copy on another device would be
            size = arrived.numel() * arrived.element_size()
            with self.lock:
                self.held += size
                self.peak, self.largest = max(self.peak, self.held), max(self.largest, size)
            weakref.finalize(arrived, self.let_go, size)
            return arrived

        def keep(store, shape, dtype):
            self.stored.append(empty(store, shape, dtype))
            return self.stored[-1]

        monkeypatch.setattr(TokenLayouts, "bring", bring)
        monkeypatch.setattr(TokenStore, "empty", keep)

    def let_go(self, size):
        with self.lock:
            self.held -= size


@pytest.mark.parametrize("shapes", SHAPES)
def test_a_device_holds_a_few_steps_however_many_scenes_there_are(toy_model, monkeypatch, shapes):
    """In use, ready, and being read: three steps of inputs and targets, and no more with twice the scenes."""
    peaks = []
    for count in (5, 10):
        spy = DeviceSpy(monkeypatch)
        quantize(toy_model, make_scenes(count, SHAPES[shapes]), token_dtype="bfloat16", scenes_per_step=1, **QUICK)
        assert all(tokens.device.type == "cpu" for tokens in spy.stored) and spy.held == 0
        whole = sum(tokens.numel() for tokens in spy.stored[:2]) * 4
        assert 0 < spy.peak <= 6 * spy.largest < whole
        peaks.append(spy.peak)
    assert peaks[1] <= peaks[0] * 1.5


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_a_gpu_gets_is_what_rests(toy_model, dtype):
    layouts = TokenLayouts(toy_model.config, torch.zeros(2, 3, 16, 16), "cuda")
    tokens = torch.randn(4, 2, 9, 16, generator=torch.Generator().manual_seed(0)).to(getattr(torch, dtype))
    brought = layouts.bring(tokens[1:3])
    assert brought.device.type == "cuda" and torch.equal(brought.cpu(), tokens[1:3])


@pytest.mark.cuda
@pytest.mark.parametrize("rounding", ["nearest", "gptq", "gptaq", "guided", "learned", "two_sided"])
@pytest.mark.parametrize("shapes", SHAPES)
def test_a_gpu_rounds_as_the_cpu_does(toy_model, rounding, shapes):
    """Sums come in another order there: single codes at the border of two may tip."""
    options = dict(recipe="rtn", rounding=rounding, rounding_steps=4, output_probes=1, progress=False, seed=1)
    scenes = make_scenes(3, SHAPES[shapes])
    here, there = (quantize(toy_model, scenes, device=device, **options) for device in ("cpu", "cuda"))
    for (name, one), (_, two) in zip(here.aggregator.blocks(), there.aggregator.blocks(), strict=True):
        for site in SITES:
            layers = linear_of(one, site), linear_of(two, site)
            torch.testing.assert_close(layers[1].scale.cpu(), layers[0].scale, rtol=1e-4, atol=1e-7)
            assert (layers[0].codes != layers[1].codes.cpu()).float().mean() < 0.05, (name, site.name)
    for one, two in zip(here.quantization.blocks, there.quantization.blocks, strict=True):
        assert two.final_loss == pytest.approx(one.final_loss, rel=0.1)


@pytest.mark.cuda
def test_more_scenes_take_no_more_of_a_gpu(build_toy):
    model, peaks = build_toy(embed_dim=128, num_heads=4), []
    for count in (4, 16):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        quantize(model, make_scenes(count, ((8, 64, 64),)), device="cuda", **QUICK)
        peaks.append(torch.cuda.max_memory_allocated())
    assert peaks[1] < 1.1 * peaks[0]
