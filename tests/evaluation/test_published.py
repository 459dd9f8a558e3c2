import pandas as pd
import pytest

from fgq.errors import FgqError
from fgq.evaluation import METRICS, Report
from fgq.evaluation.published import OF_TABLE, beside_published, published_results


def value(table, **chosen):
    for column, wanted in chosen.items():
        table = table[table[column] == wanted]
    (found,) = table.value
    return found


def test_numbers_are_those_of_the_paper_in_our_units():
    table = published_results()
    fgq = {"recipe": "fgq", "weight_bits": 4, "activation_bits": 4}
    assert value(table, **fgq, dataset="co3d", metric="pose_auc@3") == 55.75
    assert value(table, **fgq, dataset="dtu", metric="unprojected_comp_median") == 0.965
    assert value(table, **fgq, dataset="kitti video", metric="depth_rmse") == 3.384
    assert value(table, recipe="full precision", dataset="eth3d", metric="unprojected_nc_mean") == 0.846
    assert value(table, recipe="rtn", activation_bits=4, dataset="seven_scenes", metric="unprojected_acc_mean") == 0.146


def test_the_table_is_whole():
    table = published_results()
    assert set(table.metric) <= set(METRICS) and set(table.dataset) == set(OF_TABLE)
    assert not table.isna().any().any()
    assert not table.duplicated(["recipe", "weight_bits", "activation_bits", "dataset", "metric"]).any()
    per_model = table.groupby(["recipe", "weight_bits", "activation_bits"]).size()
    assert set(per_model) == {8, 8 + 18 + 8}  # W4A8 has pose alone
    assert (table.loc[table.unit == "%", "value"].between(1, 100)).all()
    assert set(table.loc[(table.dataset == "dtu") & ~table.metric.str.contains("_nc_"), "unit"]) == {"millimetre"}


def test_accuracy_grows_with_the_threshold_and_means_are_above_medians():
    table = published_results().pivot_table(
        index=["recipe", "weight_bits", "activation_bits", "dataset"], columns="metric", values="value"
    )
    auc = table[[f"pose_auc@{limit}" for limit in (3, 5, 15, 30)]].dropna()
    assert len(auc) == 22 and (auc.diff(axis=1).iloc[:, 1:] > 0).all().all()
    for name in ("acc", "comp"):  # a few points are far off
        assert (table[f"unprojected_{name}_mean"].dropna() > table[f"unprojected_{name}_median"].dropna()).all()


@pytest.fixture
def report():
    rows = [
        {
            "run": "",
            "recipe": "fgq",
            "weight_bits": 4,
            "activation_bits": 4,
            "seed": seed,
            "dataset": "co3d",
            "scene": f"s{scene}",
            "task": "camera",
            "metric": "pose_auc@30",
            "value": 90.0 + seed + scene,
            "unit": "%",
            "higher_is_better": True,
            "valid_pixels": 1,
            "seconds": 1.0,
            "note": "",
        }
        for seed in (0, 1)
        for scene in (0, 1, 2)
    ]
    return Report(pd.DataFrame(rows))


def test_ours_stands_beside_theirs_with_both_protocols(report):
    both = beside_published(report, "3 sequences of one category")
    assert len(both) == 1
    row = both.iloc[0]
    assert row.published == 94.25 and row["mean"] == pytest.approx(91.5)
    assert "2,506 sequences" in row.published_protocol and row.our_protocol == "3 sequences of one category"
    assert row.seeds == 2 and row.scenes == 3
    assert row.differs == "protocol: 3 sequences of one category; mean of 2 seeds, theirs of one"


def test_a_number_needs_a_protocol_and_a_counterpart(report):
    for words in (None, " "):
        with pytest.raises(FgqError, match="cannot be compared"):
            beside_published(report, words)
    with pytest.raises(FgqError, match="no number for playroom .* co3d, realestate10k"):
        beside_published(Report(report.frame.assign(dataset="playroom")), "rooms")
