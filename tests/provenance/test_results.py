"""Tables with the record of what made them, written and read."""

import json

import pandas as pd
import pytest

from fgq.errors import FgqError
from fgq.provenance.record import provenance, used, versions
from fgq.provenance.results import changed_sources, load_result, save_result
from fgq.provenance.source import source_files


@pytest.fixture
def saved(tmp_path):
    record = provenance({"seed": 3, "bits": 4}, ["fgq.quant", "fgq.quant.grid"], "a machine")
    record |= {"run": "demo.yaml", "chapter": "first", "needs": {}, "code_hash": "x"}
    save_result(tmp_path, "mine", "setting,value\nW4A4,0.25\n", record)
    return tmp_path


def test_a_table_comes_back_with_its_record(saved):
    table, record = load_result(saved, "mine")
    pd.testing.assert_frame_equal(table, pd.DataFrame({"setting": ["W4A4"], "value": [0.25]}))
    assert record["seeds"] == {"seed": 3} and record["device"] == "a machine" and changed_sources(record) == []


def test_only_what_was_imported_counts_and_what_is_no_module(saved):
    sources = load_result(saved, "mine")[1]["sources"]
    assert {"fgq/quant/grid.py", "fgq/quant/__init__.py", "fgq/weights/vggt-tiny/model.safetensors"} <= sources.keys()
    assert not {"fgq/quant/rounding.py", "fgq/data/folder.py"} & sources.keys()
    assert used({"a.py": "1", "b.py": "2", "c.json": "3"}, ["b"]) == {"b.py": "2", "c.json": "3"}


def test_changed_code_is_named_file_by_file(monkeypatch):
    then = source_files()
    now = then | {"fgq/quant/grid.py": "other", "fgq/quant/new.py": "hash"}
    del now["fgq/errors.py"]
    monkeypatch.setattr("fgq.provenance.results.source_files", lambda: now)
    # The new file cannot have been used: a file that uses it would have changed too.
    assert changed_sources({"sources": then}) == ["fgq/errors.py changed", "fgq/quant/grid.py changed"]


def test_a_missing_table_is_named(saved):
    with pytest.raises(FgqError, match=r"none\.csv: no such result"):
        load_result(saved, "none")


@pytest.mark.parametrize("content", ["{", "[]", '{"run": "demo.yaml"}', '{"table_hash": 3, "sources": {}}'])
def test_a_broken_record_of_a_table_is_named(saved, content):
    (saved / "results" / "mine.json").write_text(content)
    with pytest.raises(FgqError, match=r"mine\.json: no record of a result"):
        load_result(saved, "mine")


def test_versions_are_of_what_computes():
    found = versions()
    assert {"python", "fgq", "torch", "small-gicp"} <= found.keys()
    assert not {"jupytext", "ruff", "av"} & found.keys() and "absent" not in found.values()
    assert json.loads(json.dumps(found)) == found
