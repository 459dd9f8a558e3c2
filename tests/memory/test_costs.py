import numpy as np
import pytest

from fgq.data import playroom
from fgq.errors import FgqError
from fgq.evaluation.evaluate import evaluate
from fgq.evaluation.report import combine
from fgq.memory import costs
from fgq.memory.costs import measure_costs
from fgq.metrics.table import COSTS, METRICS


@pytest.fixture(scope="module")
def scenes():
    return playroom.load("test", count=2, frames=2, size=16)


def test_every_scene_has_its_latency_and_memory(toy_model, scenes):
    report = measure_costs(toy_model, scenes, repeats=1, run="here")
    assert len(report.frame) == 2 * len(COSTS) and report.frame.run.eq("here").all()
    assert report.frame.unit.tolist() == [METRICS[name].unit for name in report.frame.metric]
    values = report.frame.pivot(index="scene", columns="metric", values="value")
    assert (values.cost_latency > 0).all() and (values.cost_memory >= 0).all()
    # 2 frames of 3 + 4 tokens, 4 blocks of 12 · 16² weights, in full precision.
    assert (values.cost_bit_operations == 2 * 7 * 4 * 12 * 16**2 * 16 * 16).all()
    both = combine([report, evaluate(toy_model, scenes, progress=False)])
    assert set(both.frame.metric) > set(COSTS)


def test_the_latency_is_the_median_pass_after_the_first(toy_model, scenes, monkeypatch):
    clock, passes = iter(np.cumsum([0, 9.0, 1, 2.0, 1, 4.0])), []
    monkeypatch.setattr(costs, "time", type("Clock", (), {"perf_counter": staticmethod(lambda: next(clock))}))
    monkeypatch.setattr(costs, "peak_bytes", lambda model, images: passes.append(images.shape) or 7.0)
    report = measure_costs(toy_model, scenes[:1], repeats=3)
    assert report.means(["cost_latency", "cost_memory"]).tolist() == [4.0, 7.0] and len(passes) == 1


def test_more_frames_take_more_memory(build_toy):
    wide = build_toy(embed_dim=64, dpt_features=32)
    long = playroom.load("test", count=1, frames=12, size=48)[0]
    few, many = (measure_costs(wide, [s], repeats=1).means()["cost_memory"] for s in (long.frames([0, 1]), long))
    assert many > 2 * few and many > 12 * 48 * 48 * 4  # one float32 a pixel is the least


def test_a_system_that_does_not_tell_leaves_an_empty_value(toy_model, scenes, monkeypatch):
    class Silent:
        def __init__(self, device):
            pass

        def __enter__(self):
            raise FgqError("cannot be measured here")

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(costs, "PeakBytes", Silent)
    frame = measure_costs(toy_model, scenes, repeats=1).frame
    memory = frame[frame.metric == "cost_memory"]
    assert memory.value.isna().all() and memory.note.eq("cannot be measured here").all()
    assert frame[frame.metric == "cost_latency"].value.gt(0).all()


def test_wrong_requests_are_named(toy_model, scenes):
    with pytest.raises(FgqError, match="no scenes"):
        measure_costs(toy_model, [])
    with pytest.raises(FgqError, match="repeats is 0"):
        measure_costs(toy_model, scenes, repeats=0)


def test_what_evaluate_gives_holds_no_measured_time_but_its_column(toy_model, scenes):
    first, second = (evaluate(toy_model, scenes, progress=False).frame.drop(columns="seconds") for _ in range(2))
    assert first.equals(second) and not set(first.metric) & set(COSTS)
