"""The book's own chapters, run files and stored tables hold together. Nothing is executed."""

import ast
import re
import tomllib
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from matplotlib.figure import Figure

from fgq import plots
from fgq.runs.book import pages
from fgq.runs.chapters import code_cells, read_chapter, without_magics
from fgq.runs.execute import outdated
from fgq.runs.runfile import read_run_file

ROOT = Path(__file__).parents[2]
BOOK = ROOT / "book"
RUN_FILES = sorted((BOOK / "runs").glob("*.yaml"))
CHAPTERS = [path.stem for path in sorted(BOOK.glob("*.md")) if "{code-cell}" in path.read_text(encoding="utf-8")]
TABLES = [path.stem for path in sorted((BOOK / "results").glob("*.csv"))]
FIGURES = [name for name, verb in vars(plots).items() if getattr(verb, "__annotations__", {}).get("return") is Figure]
DRAWS = re.compile("|".join([*(rf"plots\.{name}\(" for name in FIGURES), r"plt\.subplots\(", r"\.plot\(", r"sns\."]))


@pytest.mark.parametrize("path", RUN_FILES, ids=lambda path: path.stem)
def test_a_run_file_fits_its_chapters(path):
    run = read_run_file(path)
    assert run.name == path.stem
    assert {"minutes", "memory"} <= run.expected.keys(), "a run file says what it costs"


def test_a_chapter_of_the_default_run_is_given_the_tables_that_it_shows():
    for step in read_run_file(BOOK / "runs" / "tiny.yaml").steps:
        source = "\n".join(cell.source for cell in code_cells(step.chapter.notebook))
        shown = re.findall(r"load_result\(Path\(\), \"([\w-]+)\"\)", source)
        given = {path for path in step.reads if path.startswith("results/")}
        assert {f"results/{name}{end}" for name in shown for end in (".csv", ".json")} == given


def test_the_default_run_makes_every_page_of_the_book():
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    run = read_run_file(BOOK / "runs" / "tiny.yaml")
    executed = {f"book/{step.chapter.name}" for step in run.steps}
    assert {page for page in pages(contents) if Path(page).name in CHAPTERS} == executed


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_has_parameters_and_its_figures_say_what_they_show(name):
    chapter = read_chapter(BOOK, name)
    assert chapter.defaults, "no cell is tagged parameters"
    for number, cell in enumerate(code_cells(chapter.notebook), start=1):
        if DRAWS.search(cell.source):
            alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
            assert len(alt.split()) > 3, f"code cell {number} draws, but its metadata has no text mystnb: image: alt"


@pytest.mark.parametrize("name", CHAPTERS)
def test_what_a_chapter_imports_of_the_module_exists(name):
    cells = [ast.parse(without_magics(cell.source)) for cell in code_cells(read_chapter(BOOK, name).notebook)]
    for node in (node for cell in cells for node in ast.walk(cell)):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "fgq":
            missing = [name for name in node.names if not hasattr(import_module(node.module), name.name)]
            # A sub-module is an attribute once it is imported.
            assert all(find_spec(f"{node.module}.{name.name}") for name in missing), ast.unparse(node)


@pytest.mark.parametrize("name", TABLES)
def test_a_stored_table_follows_from_today_s_code_and_parameters(name, tmp_path):
    assert outdated(BOOK, name, tmp_path) == []


def test_the_constraints_pin_what_the_package_asks_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [
        *project["dependencies"],
        *project["optional-dependencies"]["book"],
        *project["optional-dependencies"]["test"],
    ]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins), "a pin is a name and a plain version"
    pinned = {normal(pin.split("==")[0]) for pin in pins}
    assert {normal(re.match(r"[\w.-]+", line)[0]) for line in asked} <= pinned


def normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")
