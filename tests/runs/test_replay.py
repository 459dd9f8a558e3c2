"""A change of code makes a stored table outdated only where it changes numbers; the law of the tiny book's world is an
environment variable, which its kernels inherit."""

import json

import pandas as pd
import pytest

from fgq.errors import FgqError
from fgq.runs.outdated import outdated
from fgq.runs.replay import Replay, differences
from fgq.runs.results import stale
from fgq.runs.runfile import read_run_file

REPLAY = "replay: {parameters: {count: 1}, compare: [value], tolerance: 0.02}\n"


@pytest.fixture
def replayed(fresh_book, monkeypatch):
    """Executed with law 1; afterwards its record says that some file of the module was another one."""
    monkeypatch.setenv("LAW", "1")
    fresh_book.edit(fresh_book.pages / "second.md", "* factor", '* factor * float(__import__("os").environ["LAW"])')
    fresh_book.edit(fresh_book.run_file, "publish: [table]\n", "publish: [table]\n" + REPLAY)
    fresh_book.execute()
    path = fresh_book.pages / "results" / "table.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"sources": record["sources"] | {"fgq/errors.py": "another"}}))
    return fresh_book


def test_the_long_and_the_short_table_are_both_stored(replayed):
    results = replayed.pages / "results"
    assert pd.read_csv(results / "table.csv").value.tolist() == [40.0]
    assert pd.read_csv(results / "replay" / "table.csv").value.tolist() == [10.0]


def test_changed_code_that_computes_the_same_keeps_the_table(replayed, tmp_path):
    assert stale(replayed.pages, "table") == ["fgq/errors.py changed"]
    assert outdated(replayed.pages, "table", tmp_path) == []


def test_changed_code_that_computes_something_else_is_found(replayed, tmp_path, monkeypatch):
    monkeypatch.setenv("LAW", "1.03")
    (told,) = outdated(replayed.pages, "table", tmp_path)
    assert told.endswith("was 10, is 10.3")


def test_other_reasons_need_no_replay(replayed, tmp_path):
    replayed.edit(replayed.pages / "results" / "table.csv", "40", "41")
    assert "table.csv was edited" in outdated(replayed.pages, "table", tmp_path)
    assert not (tmp_path / "artefacts").exists()


def test_chapters_see_whether_the_code_changed_what_it_computes(replayed, monkeypatch):
    kept = replayed.out / "artefacts" / "replay" / "table.csv"
    text = kept.read_text()
    monkeypatch.setenv("LAW", "1.001")  # within the tolerance: as if rounded on another machine
    replayed.edit(replayed.pages / "second.md", "factor = 10", "factor = 10.0")
    replayed.execute()
    assert kept.read_text() == text
    monkeypatch.setenv("LAW", "2")
    replayed.edit(replayed.pages / "second.md", "factor = 10.0", "factor = 10.00001")
    replayed.execute()
    assert pd.read_csv(kept).value.tolist() == pytest.approx([20], rel=1e-5)


def test_differences_are_told_with_their_row():
    then = pd.DataFrame({"metric": ["a", "b"], "mean": [1.0, 0.0], "low": [0.0, 0.0]})
    replay = Replay({}, ("mean",), 0.01)
    assert differences(then, then.assign(low=5.0), replay) == []
    assert differences(then, then.assign(mean=[1.009, 0.0]), replay) == []
    assert differences(then, then.assign(mean=[1.011, 0.0]), replay) == ["mean of a was 1, is 1.011"]
    assert differences(then, then.assign(mean=[1.0, float("nan")]), replay) == ["mean of b was 0, is nan"]
    flags = then.assign(worse=[None, True])
    assert differences(flags, flags.assign(worse=[None, False]), replay) == []  # a verdict may tip
    assert differences(then, then[:1], replay) == ["1 rows, not 2"]
    assert differences(then, then.assign(metric=["a", "c"]), replay) == ["column metric differs"]
    assert differences(then, then.assign(mean=[9.0, 0.0]), Replay({}, ("mean",), 0.01, {"metric": ("b",)})) == []
    assert differences(then, then.assign(mean=[1.0, 9.0]), Replay({}, ("mean",), 0.01, {"metric": ("b",)}))
    learnt = Replay({}, ("mean",), 0.01, learned={"metric": ("b",)}, learned_tolerance=0.5)
    then = then.assign(mean=[1.0, 1.0])
    assert differences(then, then.assign(mean=[1.0, 1.4]), learnt) == []
    assert differences(then, then.assign(mean=[1.0, 1.6]), learnt) == ["mean of b was 1, is 1.6"]
    assert differences(then, then.assign(mean=[1.4, 1.0]), learnt) == ["mean of a was 1, is 1.4"]
    newer = pd.concat([pd.DataFrame({"metric": ["new"], "mean": [7.0], "low": [0.0]}), then], ignore_index=True)
    assert differences(then, newer, Replay({}, ("mean",), 0.01, {"metric": ("a", "b")})) == []
    assert differences(then, newer, replay) == ["3 rows, not 2"]
    assert differences(then, then.drop(columns="mean"), replay) == ["column mean is missing"]


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
