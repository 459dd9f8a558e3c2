import json

import pandas as pd
import pytest

from fgq.errors import FgqError
from fgq.runs.provenance import provenance
from fgq.runs.results import check_published, load_result, save_results, stale
from fgq.runs.source import source_files


@pytest.fixture
def published(executed_book):
    return executed_book


def test_a_published_table_comes_back_with_its_record(published):
    table, record = load_result(published.pages, "table")
    pd.testing.assert_frame_equal(table, pd.DataFrame({"value": [40], "files": [2]}))
    assert record["run"] == "demo.yaml" and record["chapter"] == "second"
    assert record["parameters"] == {"factor": 10, "seed": 7}
    assert record["needs"]["first"]["count"] == 4
    assert stale(published.pages, "table") == []


def test_words_do_not_make_it_stale(published):
    published.edit(published.pages / "second.md", "Words.", "More words.")
    published.edit(published.pages / "second.md", "value = int", "# why\nvalue = int")
    assert stale(published.pages, "table") == []


@pytest.mark.parametrize(
    "file, old, new, reason",
    [
        ("second.md", "* factor", "+ factor", "the code of chapter second changed"),
        ("second.md", "factor = 10", "factor = 11", "the parameters of chapter second in demo.yaml changed"),
        ("runs/demo.yaml", "count: 4", "count: 5", "the parameters of chapter first in demo.yaml changed"),
        ("runs/demo.yaml", "- second", "", "the parameters of chapter second in demo.yaml changed"),
        ("results/table.csv", "40", "41", "table.csv was edited"),
    ],
)
def test_a_change_makes_it_stale(published, file, old, new, reason):
    published.edit(published.pages / file, old, new)
    assert reason in stale(published.pages, "table")


def test_changed_code_is_named_file_by_file(published, monkeypatch):
    path = published.pages / "results" / "table.json"
    then = source_files()
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sources": then}))
    now = then | {"fgq/quant/grid.py": "other", "fgq/quant/new.py": "hash"}
    del now["fgq/errors.py"]
    monkeypatch.setattr("fgq.runs.results.source_files", lambda: now)
    # The new file cannot have been used: a file that uses it would have changed too.
    assert stale(published.pages, "table") == ["fgq/errors.py changed", "fgq/quant/grid.py changed"]


def test_a_table_saved_by_hand_is_checked_against_the_code(tmp_path):
    frame = pd.DataFrame({"setting": ["W4A4"], "value": [1 / 3]})
    save_results(tmp_path, "mine", frame, provenance({"seed": 3, "bits": 4}))
    table, record = load_result(tmp_path, "mine")
    pd.testing.assert_frame_equal(table, frame, rtol=1e-8)
    assert record["seeds"] == {"seed": 3} and stale(tmp_path, "mine") == []


def test_only_code_that_the_chapter_imported_counts(fresh_book):
    fresh_book.edit(fresh_book.pages / "second.md", "value = int", "import fgq.quant.grid\nvalue = int")
    fresh_book.execute()
    sources = json.loads((fresh_book.pages / "results" / "table.json").read_text())["sources"]
    assert {"fgq/quant/grid.py", "fgq/quant/__init__.py", "fgq/weights/vggt-tiny/model.safetensors"} <= sources.keys()
    assert "fgq/data/folder.py" not in sources and "fgq/calibrate/recipe.py" not in sources
    assert stale(fresh_book.pages, "table") == []


def test_missing_tables_are_named(published, tmp_path):
    from fgq.runs.runfile import read_run_file

    with pytest.raises(FgqError, match=r"none\.csv: no such result"):
        load_result(published.pages, "none")
    with pytest.raises(FgqError, match=r"no chapter wrote table\.csv"):
        check_published(read_run_file(published.run_file), tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", '{"run": "demo.yaml"}', '{"table_hash": 3, "sources": {}}'])
def test_a_broken_record_of_a_table_is_named(published, content):
    (published.pages / "results" / "table.json").write_text(content)
    for look in (load_result, stale):
        with pytest.raises(FgqError, match=r"table\.json: no record of a result"):
            look(published.pages, "table")
