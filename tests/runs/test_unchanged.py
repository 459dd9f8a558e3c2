"""A run that finds nothing to do says so before it imports anything, and whatever changed makes it look closely."""

import os

import pytest

from fgq.runs import unchanged
from fgq.runs.unchanged import inputs_state, is_unchanged, mark_unchanged


@pytest.fixture
def marked(executed_book, monkeypatch, tmp_path):
    """An executed book, marked, and a package of one module."""
    package = tmp_path / "fgq"
    package.mkdir()
    (package / "grid.py").write_text("x = 1")
    monkeypatch.setattr(unchanged, "PACKAGE", package)
    mark_unchanged(executed_book.out, inputs_state(executed_book.run_file, []))
    return executed_book, package


def test_an_untouched_run_is_unchanged_and_caches_do_not_count(marked):
    book, package = marked
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "grid.pyc").write_bytes(b"1")
    (book.pages / ".ipynb_checkpoints").mkdir()
    (book.pages / ".ipynb_checkpoints" / "first.ipynb").write_text("{}")
    assert is_unchanged(book.out, inputs_state(book.run_file, []))


CHANGES = {
    "a chapter": lambda book, package: book.edit(book.pages / "first.md", "Words.", "Words!"),
    "the run file": lambda book, package: book.edit(book.run_file, "count: 4", "count: 5"),
    "the module": lambda book, package: (package / "grid.py").write_text("x = 2"),
    "a new module": lambda book, package: (package / "other.py").write_text(""),
    "the contents": lambda book, package: book.edit(book.root / "_toc.yml", "pages/words", "pages/word"),
    "an artefact": lambda book, package: (book.out / "artefacts" / "table.csv").write_text("value\n1\n"),
    "a notebook": lambda book, package: (book.out / "notebooks" / "first.ipynb").unlink(),
    "a time": lambda book, package: os.utime(book.pages / "first.md", (1, 1)),
    "a broken mark": lambda book, package: (book.out / unchanged.MARK).write_text("{"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_whatever_changed_is_seen(marked, change):
    book, package = marked
    change(book, package)
    assert not is_unchanged(book.out, inputs_state(book.run_file, []))


def test_options_and_versions_count(marked, monkeypatch):
    book, _ = marked
    assert not is_unchanged(book.out, inputs_state(book.run_file, ["seed=3"]))
    monkeypatch.setattr(unchanged, "version_here", lambda name: "other")
    assert not is_unchanged(book.out, inputs_state(book.run_file, []))


def test_a_folder_of_too_many_files_is_never_taken_for_unchanged(marked, monkeypatch):
    book, _ = marked
    monkeypatch.setattr(unchanged, "MOST_FILES", 3)
    inputs = inputs_state(book.run_file, [])
    mark_unchanged(book.out, inputs)
    assert inputs == "" and not is_unchanged(book.out, inputs)


def test_the_second_start_of_a_run_reads_no_chapter(executed_book, no_kernel, monkeypatch):
    import typer.testing

    from fgq.commands.cli import app

    executed_book.edit(executed_book.run_file, "publish: [table]\n", "")  # which copies a table beside the chapters
    arguments = ["run", str(executed_book.run_file), "--out", str(executed_book.out)]
    first = typer.testing.CliRunner().invoke(app, arguments)
    assert first.exit_code == 0 and "up to date" in first.output
    assert "nothing has changed" not in first.output

    def refuse(*_):
        raise AssertionError("the run file was read")

    monkeypatch.setattr("fgq.runs.runfile.read_run_file", refuse)
    second = typer.testing.CliRunner().invoke(app, arguments)
    assert second.exit_code == 0 and "nothing has changed since the last run" in second.output
    forced = typer.testing.CliRunner().invoke(app, [*arguments, "--force"])
    assert isinstance(forced.exception, AssertionError)
