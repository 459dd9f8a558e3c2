"""Runs of a tiny book through real kernels."""

import json
import os
import re
import shutil
import sys
from importlib.metadata import version

import nbformat
import pytest

from fgq.errors import FgqError, RunFailure
from fgq.provenance.record import device

LAST_LINE = "print(count, rate, name, seeds, fast, sys.executable, os.getcwd())"


def ran(told):
    """Chapters that ran, and chapters that were up to date."""
    labels = [re.fullmatch(r"\[\d/\d\] (\w+): (running|up to date).*", line) for line in told]
    found = [match.groups() for match in labels if match]
    return [name for name, what in found if what == "running"], [name for name, what in found if what == "up to date"]


def outputs(book, chapter):
    notebook = nbformat.read(book.out / "notebooks" / f"{chapter}.ipynb", as_version=4)
    return [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]


def record(book, chapter):
    return json.loads((book.out / "provenance" / f"{chapter}.json").read_text())


def test_chapters_run_in_order_with_their_parameters_in_one_folder(executed_once):
    book, told = executed_once
    assert ran(told) == (["first", "second"], [])
    artefacts = book.out / "artefacts"
    assert {file.name for file in artefacts.iterdir()} == {"sum-0.txt", "sum-1.txt", "table.csv"}
    assert (artefacts / "table.csv").read_text() == "value,files\n40,2\n"
    assert (book.pages / "results" / "table.csv").read_text() == "value,files\n40,2\n"
    printed = outputs(book, "first")[-1][0].text
    assert printed == f"4 0.5 a [0, 1] True {sys.executable} {artefacts.resolve()}\n"


def test_provenance_says_what_made_a_chapter(executed_once):
    found = record(executed_once[0], "first")
    assert found["parameters"] == {"count": 4, "rate": 0.5, "name": "a", "seeds": [0, 1], "fast": True}
    assert found["seeds"] == {"seeds": [0, 1]}
    assert found["versions"]["torch"] == version("torch")
    assert found["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert re.fullmatch(r"unknown|[0-9a-f]{40}(\+changes)?", found["commit"])
    assert set(found["artefacts"]) == {"sum-0.txt", "sum-1.txt"}
    assert 0.1 < found["seconds"] < 60
    assert 2e7 < found["peak_memory_bytes"] < 2e9  # a Python kernel without torch
    assert found["peak_gpu_bytes"] is None
    assert [cell["cell"] for cell in found["cells"]] == [1, 2, 3, 4]
    assert found["cells"][2]["line"] == "for s in seeds:"
    assert 0 <= sum(cell["seconds"] for cell in found["cells"]) < found["seconds"]
    assert isinstance(found["energy_joules"], dict) or "not known" in found["energy_joules"]
    assert {"device", "platform", "finished", "source_hash", "code_hash"} <= found.keys()


def test_what_is_up_to_date_is_skipped_and_gets_new_words(executed_book, no_kernel):
    executed_book.edit(executed_book.pages / "first.md", "Words.", "Other words.")
    executed_book.edit(executed_book.pages / "second.md", "value = int", "# a comment\nvalue = int")
    before = outputs(executed_book, "first")
    _, told = executed_book.execute()
    assert ran(told) == ([], ["first", "second"])
    assert outputs(executed_book, "first") == before
    assert "Other words." in (executed_book.out / "notebooks" / "first.ipynb").read_text()
    assert "# a comment" in (executed_book.out / "notebooks" / "second.ipynb").read_text()


def test_a_changed_parameter_runs_its_chapter_and_those_after_it(executed_book):
    executed_book.edit(executed_book.run_file, "{count: 4}", "{count: 5, seeds: [0]}")
    _, told = executed_book.execute()
    assert ran(told) == (["first", "second"], [])
    # the file of seed 1 belonged to the earlier parameters
    assert (executed_book.out / "artefacts" / "table.csv").read_text() == "value,files\n50,1\n"


def test_a_changed_parameter_leaves_chapters_before_it_alone(executed_book):
    executed_book.edit(executed_book.run_file, "- second", "- {chapter: second, parameters: {factor: 2}}")
    _, told = executed_book.execute()
    assert ran(told) == (["second"], ["first"])
    assert (executed_book.pages / "results" / "table.csv").read_text() == "value,files\n8,2\n"


def test_a_crash_keeps_what_was_finished_and_the_run_goes_on_from_there(fresh_book):
    fresh_book.edit(fresh_book.pages / "second.md", "value = int", "later = 1 / (factor - 10)\nvalue = int")
    with pytest.raises(RunFailure) as caught:
        fresh_book.execute()
    message = str(caught.value)
    assert "\n" not in message
    where = "code cell 2 of 3, line 2 (later = 1 / (factor - 10))"
    assert f"chapter second, {where}: ZeroDivisionError: division by zero" in message
    assert f"artefacts: {fresh_book.out / 'artefacts'}" in message
    partial = nbformat.read(fresh_book.out / "unfinished" / "second.ipynb", as_version=4)
    assert any(output.output_type == "error" for cell in partial.cells for output in cell.get("outputs", []))
    assert not (fresh_book.out / "notebooks" / "second.ipynb").exists()
    fresh_book.edit(fresh_book.run_file, "- second", "- {chapter: second, parameters: {factor: 11}}")
    _, told = fresh_book.execute()
    assert ran(told) == (["second"], ["first"])
    assert not list((fresh_book.out / "unfinished").iterdir())


@pytest.mark.parametrize(
    "code, kind, told",
    [
        ("class SceneError(Exception): pass\nraise SceneError('scene 3 holds NaN')", FgqError, "scene 3 holds NaN"),
        ("sys.exit(0)", RunFailure, "it ended the chapter before its last cell could run"),
        ("os.kill(os.getpid(), 9)", RunFailure, "the kernel died, out of memory perhaps"),
        ("import time\ntime.sleep(60)", RunFailure, "took longer than 2 s"),
    ],
)
def test_a_failing_cell_is_named(executed_book, code, kind, told):
    executed_book.edit(executed_book.pages / "first.md", LAST_LINE, code)
    with pytest.raises(kind) as caught:
        executed_book.execute(cell_seconds=2 if "sleep" in code else None)
    raised = "SceneError" in code
    place = f", line 2 ({code.splitlines()[1]})" if raised else f" ({code.splitlines()[0]})"
    assert f"chapter first, code cell 4 of 4{place}: {told}" in str(caught.value)
    assert isinstance(caught.value, FgqError) == (kind is FgqError)
    # the earlier result is still there to read
    assert outputs(executed_book, "first")[-1][0].text.startswith("4 0.5 a")


def test_after_a_failed_change_the_old_parameters_are_still_up_to_date(executed_book, monkeypatch):
    def crash(*_, **__):
        raise RunFailure("crashed")

    executed_book.edit(executed_book.run_file, "count: 4", "count: 6")
    with monkeypatch.context() as patch:
        patch.setattr("fgq.runs.execute.execute_notebook", crash)
        with pytest.raises(RunFailure):
            executed_book.execute()
    executed_book.edit(executed_book.run_file, "count: 6", "count: 4")
    assert ran(executed_book.execute()[1]) == ([], ["first", "second"])


@pytest.mark.parametrize("damage", ["gone", "was changed"])
def test_a_lost_or_changed_artefact_is_made_again(executed_book, monkeypatch, damage):
    from fgq.runs.runfile import read_run_file

    folder, _ = executed_book.execute()
    artefact = executed_book.out / "artefacts" / "sum-0.txt"
    artefact.unlink() if damage == "gone" else artefact.write_text("5")
    key = record(executed_book, "first")["key"]
    assert damage in folder.why_outdated("first", key)
    assert folder.why_outdated("second", record(executed_book, "second")["key"]) is None
    assert read_run_file(executed_book.run_file).step("second").needs == ("first",)


def test_module_versions_and_shown_files_count(executed_book, monkeypatch, tmp_path):
    from fgq.runs.execute import find_keys
    from fgq.runs.runfile import read_run_file

    executed_book.edit(executed_book.run_file, "- second", "- {chapter: second, needs: [], reads: [results/t.csv]}")
    run = read_run_file(executed_book.run_file)
    package = tmp_path / "fgq"
    package.mkdir()
    (package / "grid.py").write_text("def f(x):\n    return x + 1\n")
    monkeypatch.setattr("fgq.provenance.source.PACKAGE", package)
    monkeypatch.setattr("fgq.runs.execute.SHOWN", (package,))
    keys = find_keys(run)
    (package / "grid.py").write_text('def f(x):\n    """Adds one."""\n    return (x + 1)  # one\n')
    assert find_keys(run) == keys
    (executed_book.pages / "results" / "t.csv").write_text("a\n1\n")
    shown = find_keys(run)
    assert shown["first"] == keys["first"] and shown["second"] != keys["second"]
    (package / "grid.py").write_text("def f(x):\n    return x + 2\n")
    module = find_keys(run)
    assert module["first"] != shown["first"] and module["second"] != shown["second"]
    monkeypatch.setattr("fgq.runs.execute.deciding_versions", lambda: {"torch": "other"})
    assert find_keys(run)["first"] != module["first"]


def test_only_runs_a_chapter_and_what_it_needs(executed_book):
    shutil.rmtree(executed_book.out)
    executed_book.edit(executed_book.run_file, "- second", "- {chapter: second, needs: []}")
    (executed_book.out / "artefacts").mkdir(parents=True)
    (executed_book.out / "artefacts" / "sum-0.txt").write_text("3")
    _, told = executed_book.execute(only="second")
    assert ran(told) == (["second"], [])
    assert (executed_book.out / "artefacts" / "table.csv").read_text() == "value,files\n30,1\n"


def test_a_chapter_finds_the_files_that_it_reads(executed_book):
    executed_book.edit(
        executed_book.pages / "second.md", "value = int", "print(Path('results/t.csv').read_text())\nvalue = int"
    )
    executed_book.edit(executed_book.run_file, "- second", "- {chapter: second, reads: [results/t.csv]}")
    with pytest.raises(FgqError, match=r"chapter second reads results/t\.csv, but there is no"):
        executed_book.execute()
    (executed_book.pages / "results" / "t.csv").write_text("a\n1\n")
    executed_book.execute()
    assert "a\n1\n" in outputs(executed_book, "second")[1][0].text
    assert set(record(executed_book, "second")["artefacts"]) == {"table.csv"}  # what it reads it has not made
    (executed_book.pages / "results" / "t.csv").write_text("a\n2\n")
    assert ran(executed_book.execute()[1]) == (["second"], ["first"])
    assert "a\n2\n" in outputs(executed_book, "second")[1][0].text


def test_what_an_interrupted_chapter_reads_is_there_when_it_is_repeated(executed_book):
    executed_book.edit(executed_book.run_file, "- second", "- {chapter: second, reads: [results/t.csv]}")
    executed_book.edit(executed_book.pages / "second.md", "value = int", "import time\ntime.sleep(2)\nvalue = int")
    (executed_book.pages / "results" / "t.csv").write_text("a\n1\n")
    with pytest.raises(RunFailure, match="took longer than 1 s"):
        executed_book.execute(cell_seconds=1)
    executed_book.execute()
    assert (executed_book.out / "artefacts" / "results" / "t.csv").read_text() == "a\n1\n"
    assert not list(executed_book.out.rglob("*.part")) and not (executed_book.out / ".kernel").exists()


def test_without_a_loopback_interface_a_run_says_so(fresh_book, no_kernel, monkeypatch):
    def unreachable(*_, **__):
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr("socket.create_connection", unreachable)
    with pytest.raises(FgqError, match=r"127\.0\.0\.1 cannot be reached \(Network is unreachable\)"):
        fresh_book.execute()


def test_a_damaged_notebook_is_made_again(executed_book):
    (executed_book.out / "notebooks" / "first.ipynb").write_text('{"cells": [')
    _, told = executed_book.execute(only="first")
    assert ran(told) == (["first"], []) and outputs(executed_book, "first")


class Gpus:
    """Stands for torch with two GPUs, the second of which has been given memory; or none yet."""

    def __init__(self, initialised: bool):
        self.cuda, self.initialised = self, initialised

    def is_initialized(self):
        return self.initialised

    def device_count(self):
        return 2

    def memory_stats(self, number):
        return {"allocation.all.allocated": number} if number else {}

    def get_device_name(self, number):
        return f"GPU {number}"


def test_the_device_is_the_one_that_was_computed_on_not_the_one_that_is_there(monkeypatch, executed_once):
    assert record(executed_once[0], "first")["device"] == f"CPU, {os.cpu_count()} cores"
    monkeypatch.setitem(sys.modules, "torch", Gpus(False))
    assert device() == f"CPU, {os.cpu_count()} cores"
    monkeypatch.setitem(sys.modules, "torch", Gpus(True))
    assert device() == "GPU 1"


def test_two_runs_do_not_share_a_folder(executed_book, no_kernel):
    from fgq.runs.folder import RunFolder

    with RunFolder(executed_book.out).locked():
        with pytest.raises(FgqError, match="another run works in this folder"):
            executed_book.execute()
