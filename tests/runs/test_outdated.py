"""A change of code makes a stored table outdated only where it changes numbers; the law of the tiny book's world is an
environment variable, which its kernels inherit."""

import json
import shutil

import pandas as pd
import pytest

from fgq.errors import FgqError
from fgq.provenance.results import load_result
from fgq.runs.execute import check_published, outdated, replay_first
from fgq.runs.runfile import read_run_file

REPLAY = "replay: {parameters: {count: 1}, compare: [value], tolerance: 0.02}\n"


def say_that_sources_were_others(book) -> None:
    path = book.pages / "results" / "table.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"sources": record["sources"] | {"fgq/errors.py": "another"}}))


@pytest.fixture(scope="session")
def replayed_once(tmp_path_factory, tiny_book):
    """Executed with law 1; afterwards its record says that some file of the module was another one."""
    book = tiny_book(tmp_path_factory.mktemp("replay") / "demo").write()
    book.edit(book.pages / "second.md", "* factor", '* factor * float(__import__("os").environ.get("LAW", "1"))')
    book.edit(book.pages / "second.md", "import Path\n", "import Path\nimport fgq.errors\n")
    book.edit(book.run_file, "publish: [table]\n", "publish: [table]\n" + REPLAY)
    book.execute()
    return book


@pytest.fixture
def replayed(replayed_once, tmp_path, tiny_book):
    shutil.copytree(replayed_once.root, tmp_path / "demo")
    return tiny_book(tmp_path / "demo")


def test_a_published_table_comes_back_with_its_record(executed_book):
    table, record = load_result(executed_book.pages, "table")
    pd.testing.assert_frame_equal(table, pd.DataFrame({"value": [40], "files": [2]}))
    assert record["run"] == "demo.yaml" and record["chapter"] == "second"
    assert record["parameters"] == {"factor": 10, "seed": 7}
    assert record["needs"]["first"]["count"] == 4
    assert outdated(executed_book.pages, "table") == []


def test_words_do_not_make_it_outdated(executed_book):
    executed_book.edit(executed_book.pages / "second.md", "Words.", "More words.")
    executed_book.edit(executed_book.pages / "second.md", "value = int", "# why\nvalue = int")
    assert outdated(executed_book.pages, "table") == []


@pytest.mark.parametrize(
    "file, old, new, reason",
    [
        ("second.md", "* factor", "+ factor", "the code of chapter second changed"),
        ("second.md", "factor = 10", "factor = 11", "the parameters of chapter second in demo.yaml changed"),
        ("runs/demo.yaml", "count: 4", "count: 5", "the parameters of chapter first in demo.yaml changed"),
        ("runs/demo.yaml", "- second", "", "the parameters of chapter second in demo.yaml changed"),
        ("runs/demo.yaml", "- second", "- third", "there is no chapter 'third'"),
        ("results/table.csv", "40", "41", "table.csv was edited"),
    ],
)
def test_a_change_makes_it_outdated(executed_book, file, old, new, reason):
    executed_book.edit(executed_book.pages / file, old, new)
    assert any(reason in told for told in outdated(executed_book.pages, "table"))


def test_a_table_that_no_chapter_wrote_is_named(executed_book, tmp_path):
    with pytest.raises(FgqError, match=r"no chapter wrote table\.csv, which .*demo\.yaml publishes"):
        check_published(read_run_file(executed_book.run_file), tmp_path)


def test_only_code_that_the_chapter_imported_counts(replayed):
    sources = load_result(replayed.pages, "table")[1]["sources"]
    assert {"fgq/errors.py", "fgq/weights/vggt-tiny/model.safetensors"} <= sources.keys()
    assert "fgq/data/folder.py" not in sources and "fgq/calibrate/recipe.py" not in sources
    assert outdated(replayed.pages, "table") == []


def test_the_long_and_the_short_table_are_both_stored(replayed):
    results = replayed.pages / "results"
    assert pd.read_csv(results / "table.csv").value.tolist() == [40.0]
    assert pd.read_csv(results / "replay" / "table.csv").value.tolist() == [10.0]


def test_changed_code_is_judged_by_what_it_computes(replayed, monkeypatch):
    """Of the module and of the chapter; the same code under another law stands for code that computes otherwise."""
    scratch = replayed.out / "replay"  # where the first chapter, in short, is up to date
    say_that_sources_were_others(replayed)
    replayed.edit(replayed.pages / "second.md", "import fgq.errors", "import fgq.errors as errors")
    changed = ["fgq/errors.py changed", "the code of chapter second changed"]
    assert outdated(replayed.pages, "table") == changed
    assert outdated(replayed.pages, "table", scratch) == []
    monkeypatch.setenv("LAW", "1.03")
    replayed.edit(replayed.pages / "second.md", "errors as errors", "errors as mistakes")
    (told,) = outdated(replayed.pages, "table", scratch)
    assert told.endswith("was 10, is 10.3")


def test_other_reasons_need_no_replay(replayed, tmp_path, no_kernel):
    say_that_sources_were_others(replayed)
    replayed.edit(replayed.pages / "results" / "table.csv", "40", "41")
    assert outdated(replayed.pages, "table", tmp_path / "scratch") == ["table.csv was edited", "fgq/errors.py changed"]
    replayed.edit(replayed.pages / "results" / "table.csv", "41", "40")
    replayed.edit(replayed.run_file, "count: 4", "count: 5")
    (told, _) = outdated(replayed.pages, "table", tmp_path / "scratch")
    assert told == "the parameters of chapter first in demo.yaml changed"


def test_chapters_see_whether_the_code_changed_what_it_computes(replayed, monkeypatch):
    kept = replayed.out / "artefacts" / "replay" / "table.csv"
    text = kept.read_text()
    monkeypatch.setenv("LAW", "1.001")  # within the tolerance: as if rounded on another machine
    replayed.edit(replayed.pages / "second.md", "factor = 10", "factor = 10.0")
    replay_first(read_run_file(replayed.run_file), replayed.out, print)
    assert kept.read_text() == text
    monkeypatch.setenv("LAW", "2")
    replayed.edit(replayed.pages / "second.md", "factor = 10.0", "factor = 10.00001")
    replay_first(read_run_file(replayed.run_file), replayed.out, print)
    assert pd.read_csv(kept).value.tolist() == pytest.approx([20], rel=1e-5)


@pytest.mark.parametrize(
    "field, reason",
    [
        ("{parameters: {speed: 1}, compare: [value], tolerance: 0.1}", "replay: 'speed' is a parameter of none"),
        ("{parameters: {count: many}, compare: [value], tolerance: 0.1}", "replay.*count"),
        ("{parameters: {count: 1}, compare: [value]}", "replay: the field 'tolerance' is missing"),
    ],
)
def test_a_wrong_replay_is_named_before_anything_runs(fresh_book, field, reason):
    fresh_book.edit(fresh_book.run_file, "publish: [table]\n", f"publish: [table]\nreplay: {field}\n")
    with pytest.raises(FgqError, match=reason):
        read_run_file(fresh_book.run_file)
