"""What differs between two tables, within their tolerances."""

import pandas as pd

from fgq.provenance.results import Replay, differences


def test_differences_are_told_with_their_row():
    then = pd.DataFrame({"metric": ["a", "b"], "mean": [1.0, 0.0], "low": [0.0, 0.0]})
    replay = Replay({}, ("mean",), 0.01)
    assert differences(then, then.assign(low=5.0), replay) == []
    assert differences(then, then.assign(mean=[1.009, 0.0]), replay) == []
    assert differences(then, then.assign(mean=[1.011, 0.0]), replay) == ["mean of a was 1, is 1.011"]
    assert differences(then, then.assign(mean=[1.0, float("nan")]), replay) == ["mean of b was 0, is nan"]
    flags = then.assign(worse=[None, True])
    assert differences(flags, flags.assign(worse=[None, False]), replay) == []  # a verdict may tip
    assert differences(then, then[:1], replay) == ["1 rows, not 2"]
    assert differences(then, then.assign(metric=["a", "c"]), replay) == ["column metric differs"]
    assert differences(then, then.assign(mean=[9.0, 0.0]), Replay({}, ("mean",), 0.01, {"metric": ("b",)})) == []
    assert differences(then, then.assign(mean=[1.0, 9.0]), Replay({}, ("mean",), 0.01, {"metric": ("b",)}))
    learnt = Replay({}, ("mean",), 0.01, learned={"metric": ("b",)})
    then = then.assign(mean=[1.0, 1.0])
    assert differences(then, then.assign(mean=[1.0, 1.4]), learnt) == []
    assert differences(then, then.assign(mean=[1.0, 1.6]), learnt) == ["mean of b was 1, is 1.6"]
    assert differences(then, then.assign(mean=[1.4, 1.0]), learnt) == ["mean of a was 1, is 1.4"]
    newer = pd.concat([pd.DataFrame({"metric": ["new"], "mean": [7.0], "low": [0.0]}), then], ignore_index=True)
    assert differences(then, newer, Replay({}, ("mean",), 0.01, {"metric": ("a", "b")})) == []
    assert differences(then, newer, replay) == ["3 rows, not 2"]
    assert differences(then, then.drop(columns="mean"), replay) == ["column mean is missing"]
