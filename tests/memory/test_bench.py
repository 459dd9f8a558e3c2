"""Models side by side: what a row says is true of its model, and the forms compute the same."""

import os
import signal

import pandas as pd
import pytest
import torch

import fgq
from fgq.errors import FgqError
from fgq.memory import bench as racing
from fgq.memory.bench import FAKE, FULL, INTEGER, PACKED, QUANTIZED_FORMS, bench, in_form, table_rows
from fgq.plots import show_bench
from fgq.quant import PackedLinear, kernel_choice
from fgq.quant.integer_linear import IntegerLinear
from fgq.quant.packed_linear import quantized_layers

CLIP = (2, 3, 16, 24)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv(kernel_choice.CACHE, str(tmp_path / "cache"))


@pytest.fixture
def models(toy_model, tmp_path):
    """Folders of a model and of the same model at W4A4, packed."""
    toy_model.save(tmp_path / "full")
    fgq.quantize(toy_model, recipe="rtn", progress=False).save(tmp_path / "small", packed=True)
    return str(tmp_path / "full"), str(tmp_path / "small")


def test_forms_differ_in_how_codes_lie_and_are_multiplied_and_in_nothing_else(models):
    # In float64, where no sum is rounded so far off that a value crosses the edge between two codes.
    made = {form: in_form(fgq.load_model(models[1]).double(), form, CLIP) for form in QUANTIZED_FORMS}
    kinds = {form: {type(layer) for _, layer in quantized_layers(model)} for form, model in made.items()}
    assert PackedLinear not in kinds[FAKE] and kinds[PACKED] == kinds[INTEGER] == {PackedLinear}
    assert not any(isinstance(module, IntegerLinear) for module in made[PACKED].modules())
    images = torch.rand(CLIP, generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        answers = {form: model(images).depth for form, model in made.items()}
    assert torch.equal(answers[FAKE], answers[PACKED])
    assert (answers[INTEGER] - answers[FAKE]).abs().max() <= 1e-5 * answers[FAKE].abs().max()


def test_rows_say_what_is_true_of_each_model_in_a_process_of_its_own(models):
    table = bench(models, [2, 1, 2], 16, 24, forms=[FULL, PACKED], repeats=2)
    assert table.frames.tolist() == [1, 1, 2, 2] and table.form.tolist() == [FULL, PACKED] * 2
    assert table.model.tolist() == [*models] * 2 and set(table.dtype) == {"float32"}
    full, small = (fgq.load_model(name) for name in models)
    for row in table.itertuples():
        model = full if row.form == FULL else small
        assert row.weights_gb == pytest.approx(sum(each.nbytes for each in model.state_dict().values()) / 1e9)
        files = sum(entry.stat().st_size for entry in os.scandir(row.model) if entry.name.endswith(".safetensors"))
        assert row.disk_gb == pytest.approx(files / 1e9)
        assert 0 < row.fastest <= row.seconds <= row.slowest and row.peak_gb > 0.1
        assert row.layers == (0 if row.form == FULL else len(list(quantized_layers(small))))
    first = table[table.form == FULL]
    assert first.ratio.tolist() == [1, 1] and (table.ratio > 0).all()
    assert table.weights_gb[1] < table.weights_gb[0]


def test_the_figure_has_a_dot_for_every_row():
    rows = [
        {"model": "a/b", "form": form, "dtype": "float32", "frames": frames, "seconds": seconds + frames,
         "fastest": seconds, "slowest": seconds + 5, "weights_gb": seconds}
        for form, seconds in ((FULL, 2.0), (PACKED, 3.0)) for frames in (1, 4)
    ]  # fmt: skip
    times, sizes = show_bench(pd.DataFrame(rows)).axes
    dots = [x for line in times.lines if line.get_marker() == "o" for x in line.get_xdata()]
    assert sorted(dots) == sorted(row["seconds"] for row in rows)
    assert [label.get_text() for label in times.get_yticklabels()] == [
        "b\nfull precision, float32",
        "b\npacked, float32",
    ]
    assert [bar.get_width() for bar in sizes.patches] == [2, 3]


def test_ratios_pair_the_passes_of_one_round():
    rounds = torch.tensor([[1.0, 2.0], [10.0, 30.0], [2.0, 3.0]]).numpy()  # the machine is slow in the second round
    about = dict.fromkeys(("model", "form", "dtype"), "") | dict.fromkeys(
        ("disk_gb", "weights_gb", "integer_layers", "layers"), 0
    )
    rows = pd.DataFrame(table_rows(CLIP, rounds, [about, about], [10**9, 2 * 10**9]))
    assert rows.ratio.tolist() == [1, 2] and rows.seconds.tolist() == [2, 3] and rows.peak_gb.tolist() == [1, 2]
    assert rows.fastest.tolist() == [1, 2] and rows.slowest.tolist() == [10, 30]


def test_what_cannot_be_compared_is_refused_before_a_process_starts(models, monkeypatch):
    monkeypatch.setattr(racing, "process_pool", None)
    for given, told in (
        (dict(forms=["fast"]), "form 'fast' is unknown: choose among full precision, fake, packed, integer"),
        (dict(frames=[]), "at least one number"),
        (dict(frames=[0]), r"from 1 on, not \[0\]"),
        (dict(repeats=0), "repeats must be at least 1, not 0"),
        (dict(dtypes=["int8"]), "int8"),
        (dict(device="tpu"), "tpu"),
        (dict(forms=[INTEGER]), "has a form among integer"),
    ):
        with pytest.raises(FgqError, match=told):
            bench(models[:1], **given)


def killed(_) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_is_named(models, monkeypatch):
    monkeypatch.setattr(racing, "run_pass", killed)
    with pytest.raises(FgqError, match=r"full \(full precision\): its process was killed, most likely for want of"):
        bench(models[:1], [1], 16, 24)
