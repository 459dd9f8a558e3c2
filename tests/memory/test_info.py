import math

import pandas as pd
import pytest
import torch

from fgq.errors import FgqError
from fgq.memory.forward import Forecast
from fgq.memory.info import Info, Input, measured_row
from fgq.memory.measure import Measured
from fgq.memory.speed import predict_seconds


def test_sizes_are_width_then_height():
    assert Input.parse(2, "518x392") == Input(2, 518, 392) == Input.parse(2, "518×392") == Input.parse(2, "518X392")
    assert Input.parse(1, "64") == Input(1, 64, 64)


@pytest.mark.parametrize("frames, size", [(0, "64"), (1, ""), (1, "64x"), (1, "0x64"), (1, "1x2x3"), (1, "a")])
def test_other_sizes_are_refused(frames, size):
    with pytest.raises(FgqError, match="give at least one frame and WIDTHxHEIGHT"):
        Input.parse(frames, size)


def test_values_are_never_read(toy_model, tmp_path, monkeypatch):
    toy_model.save(tmp_path)
    about = Info.open(str(tmp_path), "bfloat16")
    assert all(tensor.is_meta for tensor in about.outline().state_dict().values())
    assert about.parts().loc["all", "parameters"] == sum(p.numel() for p in toy_model.parameters())
    row = about.predict(Input(2, 24, 16))
    weights = sum(2 * parameter.numel() for parameter in toy_model.parameters())
    assert row["weights GB"] == round(weights / 1e9, 3)
    assert math.isnan(row["load s"]) and row["forward s"] >= 0


def test_a_quantized_model_keeps_its_types(toy_model, tmp_path):
    import fgq

    small = fgq.quantize(toy_model.bfloat16(), recipe="rtn")
    small.save(tmp_path)
    outline = Info.open(str(tmp_path)).outline()
    assert {name: t.shape for name, t in outline.state_dict().items()} == {
        name: t.shape for name, t in small.state_dict().items()
    }
    assert Info.open(str(tmp_path)).predict(Input(1, 16, 16))["forward s"] >= 0


def test_rows_add_up():
    row = measured_row(Measured(int(1e9), int(5e9), int(7e9), 2.0, 3.0))
    assert row["activations GB"] == 1 and row["peak GB"] == 7
    assert row.equals(pd.Series({**row}))


def test_ten_times_the_operations_take_about_ten_times_as_long(toy_model):
    work = [Forecast(0, 0, count, count) for count in (10**9, 10**10)]
    seconds = [predict_seconds(toy_model, amount, 64, 64, torch.float32, "cpu") for amount in work]
    assert 3 < seconds[1] / seconds[0] < 30
