"""A chapter outside of `fgq run`: converted by jupytext, executed by papermill, as their users type it, anywhere."""

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

BOOK = Path(__file__).parents[2] / "book"


def typed(folder, *arguments):
    return subprocess.run([sys.executable, "-m", *arguments], cwd=folder, capture_output=True, text=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("anywhere")
    done = typed(folder, "jupytext", "--to", "ipynb", "--output", "intro.ipynb", str(BOOK / "intro.md"))
    assert done.returncode == 0, done.stderr
    return folder


def test_papermill_runs_a_chapter_with_values_from_the_line_and_from_a_file(folder):
    (folder / "params.yaml").write_text("rounded_bits: 4\nframes: 2\n")
    line = ["papermill", "intro.ipynb", "out.ipynb", "-f", "params.yaml", "-p", "seed", "3", "-p", "device", "cpu"]
    done = typed(folder, *line)
    assert done.returncode == 0, done.stderr[-2000:]
    notebook = nbformat.read(folder / "out.ipynb", as_version=4)
    (drawn,) = [cell for cell in notebook.cells if "show_top_view" in cell.source]
    assert any("image/png" in output.get("data", {}) for output in drawn.outputs)
    assert notebook.metadata.papermill.parameters == {"rounded_bits": 4, "frames": 2, "seed": 3, "device": "cpu"}


def test_what_papermill_would_only_warn_of_is_refused_in_the_notebook(folder):
    done = typed(folder, "papermill", "intro.ipynb", "refused.ipynb", "-p", "modelname", "vggt-tiny")
    told = "this notebook has no parameter 'modelname'; did you mean model_name?"
    assert done.returncode != 0 and told in done.stderr
