import numpy as np
import pandas as pd
import pytest

from fgq.errors import FgqError
from fgq.evaluation import Report
from fgq.metrics.table import METRICS

SIZES = {"apple": 4, "hydrant": 1, "toybus": 2}  # sequences a category


def report(values, metric="pose_auc@30", names=None, **columns):
    names = names or [f"{category}/{n}" for category, count in SIZES.items() for n in range(count)]
    about = METRICS[metric]
    rows = [
        {"run": "", "recipe": "rtn", "weight_bits": 4, "activation_bits": 4, "seed": seed, "dataset": "co3d",
         "scene": name, "task": about.task, "metric": metric, "value": values[seed][n], "unit": about.unit,
         "higher_is_better": about.higher_is_better, "valid_pixels": 10, "seconds": 1.0 + n, "note": "", **columns}
        for seed in range(len(values)) for n, name in enumerate(names)
    ]  # fmt: skip
    return Report(pd.DataFrame(rows))


def test_a_category_counts_once_however_many_sequences_it_has():
    values = [[10.0, 20, 30, 40, 90, 60, 80]]
    found = report(values).per_category()
    assert found.scenes == list(SIZES)
    assert found.frame.value.tolist() == [25, 90, 70] and found.frame.valid_pixels.tolist() == [40, 10, 20]
    assert found.frame.seconds.tolist() == [2.5, 5, 6.5]
    row = found.summary().iloc[0]
    assert row["mean"] == pytest.approx(185 / 3) and row.scenes == 3
    assert report(values).summary()["mean"].item() == pytest.approx(np.mean(values))


def test_differences_are_paired_by_category():
    generator = np.random.default_rng(0)
    base, worse = generator.uniform(50, 90, (1, 7)), generator.uniform(50, 90, (2, 7))
    row = report(worse).per_category().compare(report(base).per_category()).iloc[0]
    edges = np.cumsum([0, *SIZES.values()])
    by_hand = [(worse - base)[:, a:b].mean() for a, b in zip(edges[:-1], edges[1:], strict=True)]
    assert row.difference == pytest.approx(np.mean(by_hand)) and (row.seeds, row.scenes) == (2, 3)


def test_a_failed_sequence_empties_its_category():
    found = report([[1.0, np.nan, 3, 4, 5, 6, 7]]).per_category().frame
    assert found.value.isna().tolist() == [True, False, False]
    assert found.note.tolist() == ["1 of 4 scenes have no value", "", ""]


def test_other_frames_of_a_category_are_refused():
    values = [[1.0, 2, 3, 4, 5, 6, 7]]
    one, other = (report(values, frames=hashed, frame_list="x").per_category() for hashed in ("aa", "bb"))
    assert len(one.compare(one))
    with pytest.raises(FgqError, match="different frames of apple"):
        one.compare(other)


def test_scenes_without_a_category_are_named():
    with pytest.raises(FgqError, match="playroom-0 names no category"):
        report([[1.0]], names=["playroom-0"]).per_category()
