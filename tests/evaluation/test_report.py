import dataclasses
import errno
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from fgq.data import Scene, playroom
from fgq.errors import FgqError
from fgq.evaluation import DEVIATIONS, FULL_CLOUDS, HEADLINE, METRICS, Report, combine, evaluate, predict, view_ablation
from fgq.geometry import encode_pose
from fgq.metrics.table import COSTS, NORMAL_CONSISTENCY
from fgq.vggt import VGGT, Predictions, VGGTConfig


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = VGGTConfig(
        img_size=16, patch_size=8, embed_dim=16, depth=2, num_heads=2, encoder_depth=1, num_register_tokens=1,
        camera_trunk_depth=1, dpt_features=8, dpt_out_channels=(8, 8, 8, 8), dpt_layers=(0, 0, 1, 1),
    )  # fmt: skip
    return VGGT(config).eval()


@pytest.fixture(scope="module")
def scenes():
    return playroom.load("test", count=5, frames=3, size=16)


class Oracle(VGGT):
    """Answers with the truth of the scenes that it was given, scaled by `scale`."""

    def __init__(self, config, scenes, scale=1.0):
        super().__init__(config)
        self.scenes, self.scale = scenes, scale

    def forward(self, images):
        found = [next(s for s in self.scenes if torch.equal(s.images, clip)) for clip in images]
        stack = {
            name: torch.stack([getattr(s, name) for s in found])
            for name in ("depth", "points", "extrinsics", "intrinsics")
        }
        pose = encode_pose(stack["extrinsics"], stack["intrinsics"], images.shape[-2:])
        pose = torch.cat([pose[..., :3] * self.scale, pose[..., 3:]], dim=-1)
        return Predictions(
            pose_enc=pose,
            depth=self.scale * stack["depth"][..., None],
            depth_conf=torch.ones_like(stack["depth"]),
            world_points=self.scale * stack["points"],
            world_points_conf=torch.ones_like(stack["depth"]),
        )


def test_the_truth_scores_perfectly_at_any_scale(model, scenes):
    for scale in (1.0, 0.3):
        means = evaluate(Oracle(model.config, scenes, scale), scenes, progress=False, clouds=FULL_CLOUDS).means()
        for name, value in means.items():
            best = {"%": 100.0, "1": 1.0}[METRICS[name].unit] if METRICS[name].higher_is_better else 0.0
            assert value == pytest.approx(best, abs=2e-3), name


def test_one_row_a_scene_and_metric(model, scenes):
    report = evaluate(model, scenes, reference=model, progress=False, clouds=FULL_CLOUDS, run="first")
    assert len(report.frame) == len(scenes) * (len(METRICS) - len(COSTS))
    assert set(report.frame.metric) == set(METRICS) - set(COSTS) and report.frame.run.eq("first").all()
    fast = evaluate(model, scenes, progress=False)
    assert set(METRICS) - set(fast.frame.metric) == {
        *COSTS, *NORMAL_CONSISTENCY, *(name for name in METRICS if name.startswith("deviation_"))
    }  # fmt: skip
    assert report.frame.recipe.eq("full precision").all() and report.frame.valid_pixels.eq(3 * 16 * 16).all()
    assert report.means(DEVIATIONS).abs().max() == 0  # a model does not deviate from itself


def test_batches_and_cached_references_do_not_change_a_number(model, scenes):
    one = evaluate(model, scenes, reference=predict(model, scenes, progress=False), batch_size=1, progress=False)
    many = evaluate(model, scenes, reference=model, batch_size=4, progress=False)
    np.testing.assert_allclose(one.frame.value, many.frame.value, rtol=1e-3, atol=1e-4)


def test_missing_truth_is_a_row_with_a_reason_not_a_smaller_denominator(model, scenes):
    blind = [*scenes[:4], dataclasses.replace(scenes[4], depth=None)]
    report = evaluate(model, blind, progress=False)
    rows = report.frame[(report.frame.metric == "depth_abs_rel") & (report.frame.scene == blind[4].name)]
    assert rows.value.isna().all() and "no true depth" in rows.note.item()
    summary = report.summary().set_index("metric")
    assert summary.failed["depth_abs_rel"] == 1 and np.isnan(summary["mean"]["depth_abs_rel"])
    assert summary.failed["pose_auc@30"] == 0 and summary.scenes["depth_abs_rel"] == 5


def test_nan_predictions_name_the_scene(model, scenes):
    class Broken(Oracle):
        def forward(self, images):
            found = super().forward(images)
            found.depth[-1, 0, 0, 0] = float("nan")
            return found

    with pytest.raises(FgqError, match=f"{scenes[4].name}.*depth"):
        evaluate(Broken(model.config, scenes), scenes, progress=False)


def made_report(values, recipe="rtn", metric="depth_abs_rel", first_seed=0, dataset="made", pixels=1):
    seeds, scenes = values.shape
    rows = [
        {"run": "", "recipe": recipe, "weight_bits": 4, "activation_bits": 4, "seed": first_seed + s,
         "dataset": dataset, "scene": f"scene {n}", "task": METRICS[metric].task, "metric": metric,
         "value": values[s, n], "unit": METRICS[metric].unit, "higher_is_better": METRICS[metric].higher_is_better,
         "valid_pixels": pixels, "seconds": 0.0, "note": ""}
        for s in range(seeds) for n in range(scenes)
    ]  # fmt: skip
    return Report(pd.DataFrame(rows))


def test_paired_differences_see_what_unpaired_ones_cannot():
    generator = np.random.default_rng(0)
    base = generator.normal(1.0, 0.5, (1, 100))  # scenes differ a lot
    worse = base + 0.02 + generator.normal(0, 0.02, (3, 100))
    row = made_report(worse).compare(made_report(base, "full precision")).iloc[0]
    assert row.difference == pytest.approx((worse - base).mean()) and row.low < 0.02 < row.high
    assert row.worse and not row.better and (row.seeds, row.scenes) == (3, 100)
    assert row.npd == pytest.approx(100 * row.difference / base.mean())
    spread = made_report(worse).summary().iloc[0]
    assert spread.low < base.mean() < spread.high  # unpaired, the difference drowns
    better = made_report(base + 0.1, metric="pose_auc@30").compare(made_report(base, metric="pose_auc@30")).iloc[0]
    assert better.better and better.npd == pytest.approx(100 * 0.1 / base.mean()) and better.harm == -better.npd
    assert row.harm == row.npd > 0


def test_gains_are_tested_with_the_sign_of_better():
    generator = np.random.default_rng(1)
    base = generator.normal(1.0, 0.5, (4, 60))
    lower = base - 0.1 + generator.normal(0, 0.01, (4, 60))
    row = made_report(lower).gain_tests(made_report(base)).iloc[0]
    assert row.gain == pytest.approx((base - lower).mean()) and row.exceeds and row.p_value < 0.01
    assert row.seed_spread == pytest.approx((base - lower).mean(1).std(ddof=1)) and (row.seeds, row.scenes) == (4, 60)
    row = made_report(lower, metric="pose_auc@30").gain_tests(made_report(base, metric="pose_auc@30")).iloc[0]
    assert row.gain < 0 and not row.exceeds and row.p_value < 0.01
    one = made_report(lower).gain_tests(made_report(base[:1] * 0 + 1, "full precision", first_seed=-1)).iloc[0]
    assert one.gain == pytest.approx((1 - lower).mean())


def test_reports_of_earlier_versions_are_read_and_combined(model, scenes, tmp_path):
    model.name_or_path = "toy"
    new = evaluate(model, scenes, progress=False)
    assert new.frame.model.eq("toy").all()
    old = Report(new.frame.drop(columns=["model", "frames", "frame_list"]).assign(recipe="older"))
    old.save(tmp_path / "old.csv")
    loaded = Report.load(tmp_path / "old.csv")
    assert "model" not in loaded.frame and len(loaded.compare(new))
    both = combine([new, loaded])
    assert len(both.summary()) == 2 * len(new.summary())
    both.save(tmp_path / "both.csv")
    assert Report.load(tmp_path / "both.csv").frame.model.tolist() == ["toy"] * len(new.frame) + [""] * len(old.frame)


def test_reports_of_other_scenes_are_refused_and_files_round_trip(tmp_path):
    full = made_report(np.array([[1.25, 0.5, np.nan, 3]]))
    with pytest.raises(FgqError, match="different scenes"):
        made_report(np.ones((1, 5))).compare(full)
    with pytest.raises(FgqError, match="more than once"):
        combine([full, full]).summary()
    full.save(tmp_path / "report.csv")
    pd.testing.assert_frame_equal(Report.load(tmp_path / "report.csv").frame, full.frame)
    with pytest.raises(FgqError, match="no such report"):
        Report.load(tmp_path / "none.csv")


def test_no_text_is_a_formula_and_all_come_back(tmp_path):
    texts = ["=1+1", "+x", "-x", "@x", "\tx", "'=x", "''=x", "'x", "''", "", "a=b", 'ü|<b>,"', "-1.5", "nan"]
    frame = made_report(np.arange(float(len(texts)))[None] - 3).frame.assign(note=texts, recipe="=cmd|' /C calc'!A0")
    Report(frame).save(tmp_path / "report.csv")
    pd.testing.assert_frame_equal(Report.load(tmp_path / "report.csv").frame, frame)
    cells = pd.read_csv(tmp_path / "report.csv", dtype=str, keep_default_na=False)
    assert not [cell for name in ("note", "recipe") for cell in cells[name] if cell[:1] in tuple("=+-@\t\r")]
    assert cells.value.tolist()[:4] == ["-3", "-2", "-1", "0"]  # a number is no text


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda frame: frame.assign(seed="x"), "column seed holds something else than whole numbers"),
        (lambda frame: frame.assign(seed=0.5), "column seed holds something else than whole numbers"),
        (lambda frame: frame.assign(seed=[np.nan] + [1] * 4), "column seed holds something else than whole numbers"),
        (lambda frame: frame.assign(seed="9" * 5000), "column seed holds something else than whole numbers"),
        (lambda frame: frame.assign(weight_bits="W4"), "column weight_bits holds something else than whole numbers"),
        (lambda frame: frame.assign(value=["x"] + [1] * 4), "column value holds something else than numbers"),
        (lambda frame: frame.assign(higher_is_better="x"), "column higher_is_better holds .* True and False"),
        (lambda frame: frame.drop(columns="value"), "needs the columns value"),
        (lambda frame: frame.drop(columns=["seed", "unit"]), "needs the columns seed, unit"),
        (lambda frame: frame[[]], "not a report"),
    ],
)
def test_a_table_that_is_no_report_is_one_line(tmp_path, change, said):
    path = tmp_path / "report.csv"
    change(made_report(np.ones((1, 5))).frame).to_csv(path, index=False)
    with pytest.raises(FgqError, match=said) as caught:
        Report.load(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_other_files_are_no_reports(tmp_path):
    path = tmp_path / "report.csv"
    for content in (b"", b"\xff\xfe\x00", b'a,b\n"1', b"a\n1,2,3\n1\n", b"\0" * 9):
        path.write_bytes(content)
        with pytest.raises(FgqError) as caught:
            Report.load(path)
        assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_a_report_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    report = made_report(np.ones((1, 5)))
    report.save(tmp_path / "report.csv")
    before = (tmp_path / "report.csv").read_bytes()

    def full(path, content):
        with path.open("wb") as file:
            file.write(content[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(FgqError, match="cannot write the report .No space left on device."):
        made_report(np.zeros((1, 9))).save(tmp_path / "report.csv")
    assert (tmp_path / "report.csv").read_bytes() == before and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(FgqError, match="give the whole path"):
        report.save("~nosuchuser/report.csv")


def test_what_cannot_be_paired_is_said():
    base = made_report(np.ones((2, 4)))
    with pytest.raises(FgqError, match=r"seeds \[5, 6\].*\[0, 1\]"):
        made_report(np.ones((2, 4)), first_seed=5).compare(base)
    with pytest.raises(FgqError, match="several datasets \\(made, other\\)"):
        made_report(np.ones((2, 4)), dataset="other").compare(base)
    with pytest.raises(FgqError, match="scene 0 has 7 and 1 valid pixels"):
        made_report(np.ones((2, 4)), pixels=7).compare(base)
    with pytest.raises(FgqError, match="share no metric"):
        made_report(np.ones((2, 4)), metric="pose_auc@30").compare(base)
    with pytest.raises(FgqError, match="no reports"):
        combine([])


def test_an_empty_value_is_never_averaged_away():
    values = np.array([[1.0, 2.0, np.nan]])
    report = made_report(values)
    assert np.isnan(report.means()["depth_abs_rel"])
    row = report.summary().iloc[0]
    assert np.isnan(row["mean"]) and row.failed == 1 and row.scenes == 3
    row = report.compare(made_report(np.ones((1, 3)))).iloc[0]
    assert np.isnan(row.difference) and not row.better and not row.worse


def test_one_scene_gives_no_verdict():
    row = made_report(np.array([[0.9]])).compare(made_report(np.array([[0.1]]))).iloc[0]
    assert row.difference == pytest.approx(0.8) and np.isnan(row.low) and not row.worse and not row.better


def test_markdown_holds_the_summary():
    values = np.random.default_rng(0).normal(1, 0.1, (2, 30))
    report = made_report(values)
    lines = report.to_markdown().splitlines()
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    row = report.summary().iloc[0]
    assert len(lines) == 3 and cells[:4] == ["rtn", "W4A4", "depth_abs_rel", "1"]
    assert cells[4] == f"{values.mean():.4g} [{row.low:.4g}, {row.high:.4g}]" and cells[5] == "2 × 30"


def test_references_of_other_scenes_are_refused(model, scenes):
    other = predict(model, [s.frames([0, 1]) for s in scenes], progress=False)
    with pytest.raises(FgqError, match=f"{scenes[0].name}.*same scenes"):
        evaluate(model, scenes, reference=other, progress=False)
    with pytest.raises(FgqError, match="3 scenes, but 5"):
        evaluate(model, scenes, reference=other[:3], progress=False)


def test_two_frames_have_pairs_but_no_trajectory(model, scenes):
    report = evaluate(model, [s.frames([0, 1]) for s in scenes], progress=False)
    rows = report.frame.set_index("metric")
    assert (
        rows.loc["trajectory_ate"].value.isna().all() and rows.loc["trajectory_ate"].note.str.contains("3 frames").all()
    )
    assert rows.loc["pose_auc@30"].value.notna().all()


def test_the_view_ablation_pairs_each_frame_with_itself(model, scenes):
    table = view_ablation(model, scenes)
    assert table.index.tolist() == ["own companions", "alone", "strangers"]
    assert table.difference["own companions"] == 0 and table.difference["alone"] != 0
    kept = table["depth_abs_rel of frame 0"]
    assert kept["alone"] - kept["own companions"] == pytest.approx(table.difference["alone"])
    assert set(HEADLINE) < set(METRICS)


def test_the_view_ablation_takes_scenes_of_several_lengths_and_one_size(model, scenes):
    shorter = scenes[1].frames([0, 1])
    assert view_ablation(model, [scenes[0], shorter]).notna().all(None)
    with pytest.raises(FgqError, match="at least 2 scenes of at least 2 frames"):
        view_ablation(model, [scenes[0], scenes[1].frames([0])])
    height, width = scenes[0].images.shape[-2:]
    wide = Scene("wide", torch.zeros(2, 3, height, 2 * width))
    with pytest.raises(FgqError, match="images of one size: scene wide has"):
        view_ablation(model, [scenes[0], wide])
