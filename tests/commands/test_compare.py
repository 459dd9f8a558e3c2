"""Comparisons as files: the numbers, the words, and texts that stay texts."""

import re

import pandas as pd
import pytest

from fgq.evaluation import Report, combine, verdicts
from fgq.evaluation.comparison import compared, comparison_latex, comparison_markdown

ODD = "a_b & 50% $x$ | \\cmd{y} <i> #1 ~^"


@pytest.fixture
def reports(report_of, tmp_path):
    """Two reports of two metrics, four scenes and two seeds, one a fifth better in the first metric."""
    values = {"deviation_depth": [[1.0, 2, 3, 4], [1.1, 2.1, 2.9, 4.1]], "deviation_points": [[5.0, 6, 7, 8]] * 2}
    found = {}
    for name, factor in ((ODD, 0.8), ("rtn", 1.0)):
        parts = []
        for metric, table in values.items():
            scaled = [[value * (factor if metric == "deviation_depth" else 1) for value in row] for row in table]
            parts.append(report_of(scaled, name, metric))
        found[name] = combine(parts)
    found[ODD].save(tmp_path / "ours.csv")
    found["rtn"].save(tmp_path / "theirs.csv")
    return found


def test_files_hold_what_compare_and_verdicts_give(reports, command, tmp_path):
    place = tmp_path / "files"
    status, out, lines = command(
        "compare", tmp_path / "ours.csv", tmp_path / "theirs.csv", "--within", 10, "--csv", place / "c.csv",
        "--markdown", place / "c.md", "--latex", place / "c.tex", "--figures", place / "figures",
    )  # fmt: skip
    assert status == 0 and lines == []
    ours, theirs = reports[ODD], reports["rtn"]
    found = pd.read_csv(place / "c.csv").set_index("metric")
    truth, judged = ours.compare(theirs).set_index("metric"), verdicts(ours, theirs, within=0.1).set_index("metric")
    for column in ("difference", "low", "high", "npd"):
        assert found[column].to_dict() == pytest.approx(truth[column].to_dict())
    assert found.change.to_dict() == pytest.approx(judged.change.to_dict())
    assert found.verdict.to_dict() == judged.verdict.to_dict() == {
        "deviation_depth": "better", "deviation_points": "equivalent within 10 %"
    }  # fmt: skip
    assert "deviation_depth: better (-20.0 %" in out
    for name in ("changes.png", "changes.svg", "scenes-1.png", "scenes-1.svg"):
        assert (place / "figures" / name).stat().st_size > 5000


def test_markdown_keeps_its_columns_whatever_a_name_holds(reports):
    lines = comparison_markdown(compared([("x", reports[ODD], reports["rtn"])])).splitlines()
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    assert {len(row) for row in cells} == {8} and len(lines) == 4 and "<i>" not in lines[2]
    assert cells[2][6].strip() == "better, yet equivalent within 30 %" and cells[2][5].strip().startswith("-20 [")


def test_latex_is_a_table_of_booktabs_in_which_nothing_is_a_command(reports):
    text = comparison_latex(compared([("x", reports[ODD], reports["rtn"])]))
    assert [name for name in ("toprule", "midrule", "bottomrule") if f"\\{name}" in text] == [
        "toprule",
        "midrule",
        "bottomrule",
    ]
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {7} and len(rows) == 3
    known = r"\\(begin|end|toprule|midrule|bottomrule|textbackslash|textasciitilde|textasciicircum|[&%$#_{}\\]|space)"
    assert not re.search(r"\\", re.sub(known, "", text)), "an unknown command"
    bare = re.sub(r"\\.", "", "".join(rows))
    assert not re.search(r"[%$#_~^]", bare)


def test_only_the_metrics_that_were_asked_for(reports, command, tmp_path):
    call = ("compare", tmp_path / "ours.csv", tmp_path / "theirs.csv")
    status, out, _ = command(*call, "--metric", "deviation_points")
    assert status == 0 and "deviation_depth" not in out and "deviation_points" in out
    for more, told in (
        (("--metric", "magic"), "no metric magic in common"),
        (("--against", "recipe=rtn"), "leave it or the second place away"),
        (("--within", 0), "--within 0.0: give percent above 0"),
        (("--figures", tmp_path), "is not empty"),
        (("--csv", tmp_path), "is a folder"),
    ):
        status, _, lines = command(*call, *more)
        assert status == 2 and len(lines) == 1 and told in lines[0]
    status, _, lines = command("compare", tmp_path / "ours.csv")
    assert status == 2 and "is no sweep's folder: give a second report" in lines[0]


def sweep_folder(root, reports: dict):
    """As `fgq sweep` leaves it: `reports` by the values of recipe and setting, with a point for each seed."""
    import json

    (root / "sessions").mkdir(parents=True)
    for (recipe, setting), report in reports.items():
        for seed in report.frame.seed.unique():
            place = root / "points" / f"{recipe}_{setting}_seed-{seed}_{abs(hash((recipe, setting, int(seed)))):x}"
            place.mkdir(parents=True)
            Report(report.frame[report.frame.seed == seed]).save(place / "report.csv")
            parameters = {"recipe": recipe, "setting": setting, "seed": int(seed)}
            (place / "result.json").write_text(json.dumps({"parameters": parameters}))


def test_points_of_a_sweep_against_those_of_one_recipe(report_of, command, tmp_path):
    values = [[1.0, 2, 3, 4], [1.1, 2.1, 2.9, 4.1]]
    made = {}
    for setting, bits, offset in (("W4A4", (4, 4), 1.0), ("W4A8", (4, 8), 0.5)):
        for recipe, factor in (("rtn", 1.0), ("fgq", 0.7)):
            scaled = [[value * factor * offset for value in row] for row in values]
            made[recipe, setting] = report_of(scaled, recipe, "deviation_depth", bits)
    sweep_folder(tmp_path / "sweep", made)
    status, _, _ = command("compare", tmp_path / "sweep", "--against", "recipe=rtn", "--csv", tmp_path / "c.csv")
    found = pd.read_csv(tmp_path / "c.csv")
    assert status == 0 and list(found.report) == ["rtn, W4A4", "rtn, W4A8"]
    assert list(found.recipe) == ["fgq", "fgq"] and list(found.seeds) == [2, 2]
    assert list(found.change) == pytest.approx([-0.3, -0.3]) and list(found.verdict) == ["better", "better"]
    truth = made["fgq", "W4A8"].compare(made["rtn", "W4A8"]).difference[0]
    assert found.difference[1] == pytest.approx(truth)

    status, out, _ = command("compare", tmp_path / "sweep", tmp_path / "sweep")
    assert status == 0 and out.count("deviation_depth") == 8
    for against, told in (("recip=rtn", "is a parameter of no point"), ("recipe=gptq", "no point that is done has")):
        status, _, lines = command("compare", tmp_path / "sweep", "--against", against)
        assert status == 2 and told in lines[0]
