"""A sweep file is understood, or refused in one line before anything runs."""

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fgq.data.protocols import find_protocol
from fgq.errors import FgqError
from fgq.evaluation.published import published_results
from fgq.quant import Bits
from fgq.sweeps.points import expand, fits, named, readable
from fgq.sweeps.sweep_file import check_here, read_sweep

SHIPPED = sorted((Path(__file__).parents[2] / "book" / "runs" / "sweeps").glob("*.yaml"))
CALIBRATIONS = """
name: recipes
base: {calibration_clips: 2, test_scenes: 2}
grid: {recipe: [rtn, fgq], setting: [W4A4, W4A8], seed: [0, 1]}
also:
  - {recipe: flatquant, rounding: [gptq, two_sided]}
  - {recipe: fgq+, setting: W3A8, seed: 0}
skip:
  - {recipe: rtn, seed: 1}
"""


def written(tmp_path, text):
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_shipped_files_can_be_read(path):
    sweep = read_sweep(path)
    assert sweep.name == path.stem and sweep.description and len(sweep.points) > 1


def test_the_paper_s_tables_are_whole():
    (path,) = (path for path in SHIPPED if path.stem == "vggt1b-paper-tables")
    made = {
        (point["recipe"], *Bits(point["setting"]), find_protocol(point["protocol"]).table)
        for point in (point.parameters for point in read_sweep(path).points)
    }
    rows = published_results().query("recipe != 'full precision'")
    wanted = set(rows[["recipe", "weight_bits", "activation_bits", "dataset"]].itertuples(index=False, name=None))
    assert wanted == made, wanted ^ made


def test_a_file_names_every_point_once_with_all_that_decides_it(tmp_path):
    sweep = read_sweep(written(tmp_path, CALIBRATIONS))
    told = [
        tuple(point.parameters.get(name) for name in ("recipe", "setting", "seed", "rounding"))
        for point in sweep.points
    ]
    grid = itertools.product(["rtn", "fgq"], ["W4A4", "W4A8"], [0, 1], [None])
    also = (("flatquant", s, n, r) for s in ("W4A4", "W4A8") for n in (0, 1) for r in ("gptq", "two_sided"))
    expected = [point for point in grid if point[0] != "rtn" or point[2] != 1] + list(also)
    assert sorted(map(str, told)) == sorted(map(str, [*expected, ("fgq+", "W3A8", 0, None)]))
    assert sweep.varying == ("recipe", "setting", "seed", "rounding")
    assert len({point.name for point in sweep.points}) == len(sweep.points) == 15
    first = sweep.points[0]
    assert first.name.startswith("rtn_W4A4_seed-0_") and first.parameters["calibration_split"] == "calibration"
    # Another parameter that varies changes the names of points, and not what they are known by.
    more = read_sweep(written(tmp_path, CALIBRATIONS.replace("seed: [0, 1]}", "seed: [0, 1], frames: [null, 2]}")))
    assert {point.hash for point in sweep.points} < {point.hash for point in more.points}


NAMES = st.sampled_from(["a", "b", "c"])
VALUES = st.sampled_from([0, 1, "x", None, [1, 2]])
GRIDS = st.dictionaries(NAMES, st.lists(VALUES, min_size=1, max_size=3), max_size=3)


@given(GRIDS, st.lists(st.dictionaries(NAMES, st.sampled_from([0, "x", None]), min_size=1), max_size=2))
def test_points_are_those_of_nested_loops(grid, also):
    found = expand({"base": 9}, grid, also, [])
    truth = []
    for choices in ([grid] if grid or not also else []) + [grid | {n: [v] for n, v in entry.items()} for entry in also]:
        points = [{"base": 9}]
        for name, values in choices.items():
            points = [point | {name: value} for point in points for value in values]
        truth += [point for point in points if point not in truth]
    truth = [point for index, point in enumerate(truth) if point not in truth[:index]]
    assert sorted(map(repr, found)) == sorted(map(repr, truth))
    names = [point.name for point in named(found, found, ["a", "b", "c"])]
    assert len(set(names)) == len(names) and all(set(name) <= set(readable("", name) + "_") for name in names)


def test_what_fits_is_skipped_and_nothing_else():
    points = expand({}, {"a": [1, 2, 3], "b": ["x", "y"]}, [], [{"a": [1, 2], "b": "x"}])
    assert points == [{"a": 1, "b": "y"}, {"a": 2, "b": "y"}, {"a": 3, "b": "x"}, {"a": 3, "b": "y"}]
    assert fits({"a": 1}, {"a": 1}) and not fits({"a": 1}, {"b": None})
    with pytest.raises(FgqError, match="skip: entry 1, .*fits no point"):
        expand({}, {"a": [1]}, [], [{"a": 2}])
    with pytest.raises(FgqError, match="no point is left"):
        expand({}, {"a": [1]}, [], [{"a": 1}])
    with pytest.raises(FgqError, match="10000 points are more than 5000"):
        expand({}, {"a": list(range(100)), "b": list(range(100))}, [], [])


MISTAKES = [
    ("name: recipes", "nam: recipes", "unknown field 'nam'; did you mean name?"),
    ("name: recipes\n", "", "the field 'name' is missing"),
    ("name: recipes", "name: a/b", "name is 'a/b': string should match"),
    ("grid: {recipe", "gird: {recipe", "did you mean grid?"),
    ("base: {", "base: {seeed: 1, ", "base has no parameter 'seeed'; did you mean seed?"),
    ("base: {", "base: {recipe: rtn, ", "'recipe' stands in base and in grid"),
    ("[rtn, fgq]", "[rtn, fqg]", "parameter 'recipe' is 'fqg': did you mean fgq?"),
    ("[rtn, fgq]", "[]", "grid.recipe is []"),
    ("[rtn, fgq]", "rtn", "grid.recipe is 'rtn': input should be a valid list"),
    ("[rtn, fgq]", "[rtn, [fgq]]", "parameter 'recipe' is ['fgq']"),
    ("[W4A4, W4A8]", "[W4A4, W44]", "bits 'W44': write them as W4A8"),
    ("[W4A4, W4A8]", "[auto]", "which chapters alone have"),
    ("seed: [0, 1]", "seed: [0, 1, -1]", "parameter 'seed' is -1"),
    ("seed: [0, 1]", "seed: [0, 1, null]", "parameter 'seed' is None"),
    ("calibration_clips: 2", "calibration_clips: many", "parameter 'calibration_clips' is 'many'"),
    ("[gptq, two_sided]", "[gtpq]", "rounding 'gtpq' is unknown"),
    ("rounding:", "rouning:", "also, entry 1 has no parameter 'rouning'; did you mean rounding?"),
    ("{recipe: rtn, seed: 1}", "{recipe: rtn, sed: 1}", "skip, entry 1 has no parameter 'sed'"),
    ("{recipe: rtn, seed: 1}", "{recipe: rtn, seed: 3}", "skip: entry 1"),
    ("base: {", "base: {dataset: co3d, ", "parameter 'root': the dataset co3d needs its folder"),
    ("base: {", "base: {dataset: co3, ", "'dataset' is 'co3': did you mean co3d?"),
    ("base: {", "base: {root: x, ", "the dataset playroom has no such option"),
    ("base: {", "base: {test_split: exam, ", "playroom has no split 'exam'"),
    ("base: {", "base: {clouds: ful, ", "'clouds' is 'ful': did you mean full?"),
    ("name: recipes", "name: recipes\nonly: fisher", "only names a chapter of a run file"),
    ("name: recipes", "name: recipes\nrun: a.yaml\ncall: a:b", "run and call are two kinds"),
    ("name: recipes", "name: recipes\nrun: none.yaml", "none.yaml: no such run file"),
    ("name: recipes", "name: recipes\ncall: nowhere", "write module:function"),
    ("name: recipes", "name: recipes\ncall: nowhere_at_all:f", "cannot be imported"),
    ("name: recipes", "name: recipes\ncall: json:dumps", "json:dumps has no parameter 'calibration_clips'"),
    ("name: recipes", "- name", "not YAML"),
]


@pytest.mark.parametrize("old, new, told", MISTAKES)
def test_a_mistake_is_told_with_its_place(tmp_path, old, new, told):
    assert old in CALIBRATIONS
    path = written(tmp_path, CALIBRATIONS.replace(old, new))
    with pytest.raises(FgqError) as error:
        read_sweep(path)
    message = str(error.value)
    assert str(path) in message and told in message and len(message.splitlines()) == 1


def test_a_function_s_parameters_are_checked_by_its_signature(trial):
    text = "name: f\ncall: MODULE:score\ngrid: {number: [1]}\nbase: {log: x}"
    sweep = read_sweep(trial.write(text))
    assert sweep.points[0].parameters == {"number": 1, "word": "x", "log": "x", "kill": "", "fail": []}
    for old, new, told in (
        ("number: [1]", "number: ['1']", "parameter 'number' is '1'"),
        ("number: [1]", "nummer: [1]", "has no parameter 'nummer'; did you mean number?"),
        ("grid: {number: [1]}", "grid: {word: [a]}", "parameter 'number' is not given"),
        ("base: {log: x}", "base: {folder: x}", "has no parameter 'folder'"),
    ):
        with pytest.raises(FgqError, match=told.replace("?", r"\?")):
            read_sweep(trial.write(text.replace(old, new)))


def test_a_run_file_s_parameters_are_those_of_its_chapters(tmp_path):
    from pathlib import Path

    runs = Path(__file__).parents[2] / "book" / "runs"
    text = f"name: r\nrun: {runs}/rivals-w4a4.yaml\ngrid: {{setting: [W4A4, W3A3], test_scenes: [2]}}"
    sweep = read_sweep(written(tmp_path, text))
    assert [point.parameters for point in sweep.points] == [{"setting": s, "test_scenes": 2} for s in ("W4A4", "W3A3")]
    with pytest.raises(FgqError, match="'seting' is a parameter of none of the chapters; did you mean setting?"):
        read_sweep(written(tmp_path, text.replace("setting", "seting")))
    with pytest.raises(FgqError, match="'setting' is 'W4'"):
        read_sweep(written(tmp_path, text.replace("W3A3", "W4")))


def test_what_this_machine_lacks_is_told_before_anything_starts(tmp_path):
    def refused(base: str, devices: bool = False) -> str:
        sweep = read_sweep(written(tmp_path, f"name: x\nbase: {{{base}}}\ngrid: {{seed: [0, 1]}}"))
        with pytest.raises(FgqError) as error:
            check_here(sweep, sweep.points, devices)
        return str(error.value)

    assert "./nowhere: no such file or folder" in refused("model_name: ./nowhere")
    assert f"'root' is '{tmp_path}/none': there is no such folder" in refused(f"dataset: co3d, root: {tmp_path}/none")
    assert "with --devices write cuda, or auto" in refused("device: 'cuda:1'", devices=True)
    for fine in ("model_name: facebook/VGGT-1B", "device: cuda", f"dataset: co3d, root: {tmp_path}"):
        sweep = read_sweep(written(tmp_path, f"name: x\nbase: {{{fine}}}"))
        check_here(sweep, sweep.points, devices=True)
