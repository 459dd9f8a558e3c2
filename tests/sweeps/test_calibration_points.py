"""Points that calibrate and measure give what the public verbs give, and their page shows it."""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import fgq
from fgq.calibrate import schedule
from fgq.errors import FgqError
from fgq.evaluation import Report, verdicts
from fgq.sweeps.execute import folder_of, renew
from fgq.sweeps.reports import pairs_within, reports_by_point
from fgq.sweeps.sweep_file import read_sweep
from fgq.sweeps.worker import work
from fgq.writing import write_json

sys.path.append(str(Path(__file__).parents[1] / "data_loading"))

from writers import co3d  # noqa: E402
from writers.room import build_room  # noqa: E402

SWEEP = """
name: toy
base: {model_name: MODEL, device: cpu, frames: 2, size: 16, calibration_clips: 2, test_scenes: 3, epochs: 1}
grid: {recipe: [rtn, fgq], seed: [0, 1]}
also: [{recipe: rtn, weight_group: 8}]
skip: [{recipe: rtn, seed: 1, weight_group: 8}]
"""


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A sweep whose points were all done in this process."""
    from fgq.vggt import VGGT, VGGTConfig
    from tests.conftest import TOY_SIZES

    root = tmp_path_factory.mktemp("toy")
    torch.manual_seed(0)
    VGGT(VGGTConfig(**TOY_SIZES)).save(root / "model")
    (root / "sweep.yaml").write_text(SWEEP.replace("MODEL", str(root / "model")))
    sweep = read_sweep(root / "sweep.yaml")
    folder = folder_of(sweep, root / "out")
    write_json(folder.session("s"), {})
    assert work(sweep.kind, sweep.points, folder, "s", 0) == 0
    renew(sweep, folder)
    return sweep, folder


def test_a_point_is_the_verbs(swept):
    sweep, folder = swept
    (point,) = [p for p in sweep.points if (p.parameters["recipe"], p.parameters["seed"]) == ("fgq", 1)]
    model = fgq.load_model(point.parameters["model_name"])
    clips = fgq.load_scenes("playroom", split="calibration", count=2, frames=2, size=16, seed=1)
    test = fgq.load_scenes("playroom", split="test", count=3, frames=2, size=16, seed=0)
    fisher = fgq.estimate_fisher(model, clips, seed=1, progress=False)
    small = fgq.quantize(model, clips, "fgq", 4, 4, fisher=fisher, seed=1, epochs=1, progress=False)
    truth = fgq.evaluate(small, test, reference=model, progress=False)
    found = Report.load(folder.of(point).root / "report.csv")
    assert list(found.frame.scene) == list(truth.frame.scene) and set(found.frame.seed) == {1}
    np.testing.assert_allclose(found.frame.value, truth.frame.value, rtol=1e-5, atol=1e-7)


def test_the_table_has_every_point_with_its_parameters_and_costs(swept):
    sweep, folder = swept
    table = pd.read_csv(folder.table)
    assert set(table.state) == {"done"} and table.point.nunique() == len(sweep.points) == 5
    assert table.groupby("point").metric.nunique().nunique() == 1 and not table.duplicated(["point", "metric"]).any()
    group = table[table.weight_group.notna()]
    assert set(group.recipe) == {"rtn"} and group.point.nunique() == 1 and set(table.report_recipe) == {"rtn", "fgq"}
    for point in sweep.points:
        rows = table[table.point == point.name].set_index("metric")
        summary = Report.load(folder.of(point).root / "report.csv").summary().set_index("metric")
        np.testing.assert_allclose(rows.value, summary["mean"].loc[rows.index], rtol=1e-6)
        assert (rows.setting == point.parameters["setting"]).all() and (rows.calibration_seconds >= 0).all()
    assert not list(folder.points.glob("*/unfinished")) and len(list((folder.shared / "fisher").iterdir())) == 4


class Outline(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.links, self.loads = [], [], []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        self.links += [attributes["href"]] if "href" in attributes else []
        self.loads += [attributes["src"]] if "src" in attributes else []


def test_the_overview_is_one_page_that_leads_to_every_point(swept):
    sweep, folder = swept
    text = folder.overview.read_text()
    page = Outline()
    page.feed(text)
    assert page.loads == [] and not re.search(r"@import|url\(http|https?://(?!www\.w3\.org|purl\.org)", text)
    assert page.tags.count("tr") == 1 + len(sweep.points) and page.tags.count("svg") == 1
    assert {f"points/{point.name}/" for point in sweep.points} <= set(page.links)
    assert all((folder.root / link).exists() for link in page.links)
    assert "done 5, running 0, failed 0, left 0" in text and "deviation_depth" in text


def test_points_compare_with_the_chosen_ones_of_their_setting_over_seeds(swept):
    sweep, folder = swept
    pairs = pairs_within(folder.root, {"recipe": "rtn", "weight_group": None})
    ((name, ours, theirs),) = pairs
    assert name == "rtn" and sorted(ours.only(recipe="fgq").frame.seed.unique()) == [0, 1]
    assert set(ours.frame.recipe) == {"fgq", "rtn, 8"} and set(theirs.frame.seed) == {0, 1}
    of_points = reports_by_point(folder.root)
    assert set(of_points) == {point.name for point in sweep.points}
    fgq_points = [p.name for p in sweep.points if p.parameters["recipe"] == "fgq"]
    values = [of_points[name].only(metric="deviation_depth").frame.value.mean() for name in fgq_points]
    found = ours.only(recipe="fgq", metric="deviation_depth").frame.value.mean()
    assert found == pytest.approx(np.mean(values))
    assert len(verdicts(ours.only(recipe="fgq"), theirs, ["deviation_depth"])) == 1


def test_what_is_done_is_not_computed_again(swept, monkeypatch):
    sweep, folder = swept
    monkeypatch.setattr("fgq.sweeps.calibration.calibrate_and_measure", None)
    assert work(sweep.kind, sweep.points, folder, "again", 0) == 0
    assert {place.newest().number for place in map(folder.of, sweep.points)} == {1}


def test_a_calibration_goes_on_from_its_finished_blocks(swept, tmp_path, monkeypatch):
    text = (swept[0].path).read_text().split("grid:")[0] + "grid: {recipe: [flatquant]}"
    (tmp_path / "one.yaml").write_text(text)
    sweep = read_sweep(tmp_path / "one.yaml")
    folder, calibrated = folder_of(sweep, tmp_path / "out"), []
    loop = schedule.calibrate_block

    def follow(problem, *arguments):
        calibrated.append(problem.name)
        return loop(problem, *arguments)

    monkeypatch.setattr(schedule, "calibrate_block", follow)
    with monkeypatch.context() as patched:
        patched.setattr("fgq.sweeps.calibration.CLOUDS", {})  # which is asked for once the model is quantized
        assert work(sweep.kind, sweep.points, folder, "s", 0) == 0
    assert folder.of(sweep.points[0]).state() == "failed" and calibrated == ["F0", "G0", "F1", "G1"]
    assert work(sweep.kind, sweep.points, folder, "t", 0) == 0
    assert folder.of(sweep.points[0]).state() == "done" and len(calibrated) == 4
    assert folder.of(sweep.points[0]).result["attempt"] == 2


BY_PROTOCOL = """
name: published
base: {model_name: MODEL, root: ROOT, dataset: co3d, protocol: fgq-co3d, device: cpu, recipe: rtn}
grid: {frames: [2, 3]}
"""


def test_a_protocol_chooses_the_test_scenes_and_its_departures_are_told(swept, tmp_path):
    co3d.write(tmp_path, {"apple": {"1_1_1": build_room(0, 3, 42, 56)}})
    text = BY_PROTOCOL.replace("MODEL", str(swept[0].path.parent / "model")).replace("ROOT", str(tmp_path))
    (tmp_path / "sweep.yaml").write_text(text)
    sweep = read_sweep(tmp_path / "sweep.yaml")
    folder = folder_of(sweep, tmp_path / "out")
    assert work(sweep.kind, sweep.points, folder, "s", 0) == 0
    for point in sweep.points:
        report = Report.load(folder.of(point).root / "report.csv").frame
        told = f"2 of 2,506 sequences; {point.parameters['frames']} random frames, in the order of the sequence, not 10"
        assert set(report.protocol) == {"fgq-co3d"} and report.departures.iloc[0].startswith(told)
        assert "pixels wide" not in report.departures.iloc[0]  # 504 as published, where the model's own are 16
    (tmp_path / "sweep.yaml").write_text(text.replace("dataset: co3d", "dataset: dtu"))
    with pytest.raises(FgqError, match="the protocol fgq-co3d is not of the dataset dtu"):
        read_sweep(tmp_path / "sweep.yaml")
