"""The schema of the chapters' parameters, and its check inside a notebook."""

from pathlib import Path

import pytest

from fgq.errors import FgqError
from fgq.runs.chapters import read_chapter
from fgq.runs.parameters import FIELDS, check_notebook, check_values, describe

BOOK = Path(__file__).parents[2] / "book"
CHAPTERS = [path.stem for path in sorted(BOOK.glob("*.md")) if "{code-cell}" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_chapter_s_parameters_stand_in_the_schema_with_defaults_that_it_allows(name):
    defaults = read_chapter(BOOK, name).defaults
    assert defaults.keys() <= FIELDS.keys()
    check_values(defaults, defaults, name)


def test_no_name_stands_in_the_schema_that_no_chapter_has():
    assert set(FIELDS) == {name for chapter in CHAPTERS for name in read_chapter(BOOK, chapter).defaults}


def test_an_edition_has_its_own_cells_and_not_those_of_others():
    chapter = read_chapter(BOOK, "evaluation")
    cells = {
        name: "\n".join(cell.source for cell in chapter.edition({"model_name": name}).notebook.cells)
        for name in ("vggt-tiny", "another")
    }
    assert "The adjudication" in cells["vggt-tiny"] and "beside_published" not in cells["vggt-tiny"]
    assert "The adjudication" not in cells["another"] and "beside_published" in cells["another"]


MISTAKES = [
    ("modelname", "vggt-tiny", "has no parameter 'modelname'; did you mean model_name?"),
    ("model_name", "", "'model_name' is ''"),
    ("frames", 0, "'frames' is 0: input should be greater than or equal to 1"),
    ("frames", True, "'frames' is True: input should be a valid integer"),
    ("frames", 4.0, "'frames' is 4.0: input should be a valid integer"),
    ("seed", -1, "'seed' is -1"),
    ("seeds", [], "'seeds' is []"),
    ("seeds", [0, "1"], "'seeds.1' is '1': input should be a valid integer"),
    ("setting", "W44", "'setting' is 'W44': bits 'W44': write them as W4A8"),
    ("setting", "W9A4", "'setting' is 'W9A4'"),
    ("protocol", "fgq-co3", "'protocol' is 'fgq-co3': input should be 'fgq-co3d', 'fgq-realestate10k'"),
    ("sweep", ["W4A4", "4"], "'sweep.1' is '4'"),
    ("root", 3, "'root' is 3: input should be a valid string"),
    ("dtype", "int8", "'dtype' is 'int8': input should be 'float32', 'bfloat16' or 'float16'"),
    ("dampings", [0.1, float("inf")], "'dampings.1' is inf: input should be"),
    ("within", 0, "'within' is 0: input should be greater than 0"),
    ("ways", ["rtn"], "'ways' is ['rtn']: input should be a valid dictionary"),
]


@pytest.mark.parametrize("name, value, told", MISTAKES)
def test_a_mistake_is_told_with_its_name_its_place_and_what_may_stand_there(name, value, told):
    with pytest.raises(FgqError) as error:
        check_values(FIELDS, {name: value}, "my.yaml: chapter x")
    message = str(error.value)
    assert message.startswith("my.yaml: chapter x") and told in message and len(message.splitlines()) == 1
    assert name not in FIELDS or FIELDS[name].description in message


def test_none_stands_only_where_it_may():
    check_values(FIELDS, {"root": None, "size": None, "frames": None}, "x")
    with pytest.raises(FgqError, match="'seed' is None"):
        check_values(FIELDS, {"seed": None}, "x")


def test_a_description_says_type_bounds_and_unit():
    assert describe("size")[:2] == ("whole number from 1 to 16384 or none", "pixels")
    assert describe("setting")[0] == "bit setting" and describe("sweep")[0] == "list of: bit setting"
    assert describe("within")[0] == "number above 0"
    assert describe("speed", 0.5) == ("of type float", "", "the chapter's own")


def notebook(parameters: str, injected: str | None = None) -> dict:
    """The variables of a kernel that has run a cell of parameters, and perhaps papermill's."""
    cells = ["", parameters, *([] if injected is None else [f"# Parameters\n{injected}\n"])]
    variables = {"In": cells, "Out": {}, "exit": None}
    for cell in cells:
        exec(cell, variables)
    return variables


def test_a_notebook_finds_what_papermill_set_that_it_does_not_have():
    check_notebook(notebook("seed = 0\nframes = 4", "seed = 3"))
    with pytest.raises(FgqError, match="this notebook has no parameter 'sed'; did you mean seed?"):
        check_notebook(notebook("seed = 0\nframes = 4", "sed = 3"))
    with pytest.raises(FgqError, match="no parameter 'frames'; it has seed"):  # another chapter's
        check_notebook(notebook("seed = 0", "frames = 3"))


def test_a_notebook_checks_values_that_papermill_or_a_reader_set():
    with pytest.raises(FgqError, match="this notebook: parameter 'seed' is '3'"):
        check_notebook(notebook("seed = 0", 'seed = "3"'))
    with pytest.raises(FgqError, match="this notebook: parameter 'seed' is -1"):
        check_notebook(notebook("seed = -1"))
    check_notebook(notebook("seed = 0") | {"counts": "another variable"})
