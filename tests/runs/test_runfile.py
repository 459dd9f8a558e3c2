"""Every mistake in a run file is one line, names its place, and starts nothing."""

import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fgq.errors import FgqError
from fgq.runs.execute import find_keys
from fgq.runs.runfile import read_run_file


def through_command_line(monkeypatch, capsys, *arguments):
    """Status and lines on the error stream of `fgq`."""
    from fgq.commands.cli import main

    monkeypatch.setattr(sys, "argv", ["fgq", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code, capsys.readouterr().err.splitlines()


REPLAY = "replay: {parameters: {}, compare: [value], tolerance: 0.1"
MISTAKES = {
    "unknown parameter": ("{count: 4}", "{cuont: 4}", "chapter first has no parameter 'cuont'; did you mean count?"),
    "text for a number": ("{count: 4}", "{count: '4'}", "chapter first: parameter 'count' is '4' (str)"),
    "float for an int": ("{count: 4}", "{count: 4.0}", "chapter first: parameter 'count' is 4.0 (float)"),
    "bool for an int": ("{count: 4}", "{count: yes}", "chapter first: parameter 'count' is True (bool)"),
    "int for a bool": ("{count: 4}", "{fast: 1}", "chapter first: parameter 'fast' is 1 (int)"),
    "nan": ("{count: 4}", "{rate: .nan}", "chapter first: parameter 'rate' is nan (float)"),
    "number for text": ("{count: 4}", "{name: 007}", "chapter first: parameter 'name' is 7 (int)"),
    "list of text": ("{count: 4}", "{seeds: [0, a]}", "chapter first: parameter 'seeds.1' is 'a'"),
    "number for a list": ("{count: 4}", "{seeds: 3}", "chapter first: parameter 'seeds' is 3: input should be"),
    "nothing": ("{count: 4}", "{count: }", "chapter first: parameter 'count' is None (NoneType)"),
    "parameters as list": ("{count: 4}", "[count, 4]", "chapter first: parameters must be a dict"),
    "missing chapter": ("- second", "- third", "there is no chapter 'third'"),
    "repeated chapter": ("- second", "- first", "chapter first is listed twice"),
    "need of a later one": ("chapter: first", "chapter: first\n    needs: [second]", "needs 'second', which is not"),
    "unknown field": ("publish:", "publich:", "unknown field 'publich'"),
    "no name": ("name: demo\n", "", "the field 'name' is missing"),
    "name with a slash": ("name: demo", "name: ../demo", "name '../demo' cannot name a file or folder"),
    "unused default": ("publish:", "defaults: {cuont: 3}\npublish:", "default 'cuont' is a parameter of none"),
    "broken": ("{count: 4}", "{count: 4]", "demo.yaml, line 4: not YAML"),
    "chapter elsewhere": ("- second", "- ../second", "chapter '../second' cannot name a file or folder"),
    "chapter from the root": ("- second", "- /etc/second", "chapter '/etc/second' cannot name a file or folder"),
    "reads above": ("- second", "- {chapter: second, reads: [../victim.txt]}", "second reads '../victim.txt', no file"),
    "reads from the root": (
        "- second",
        "- {chapter: second, reads: [/etc/hosts]}",
        "second reads '/etc/hosts', no file",
    ),
    "reads a number": ("- second", "- {chapter: second, reads: [5]}", "second: reads must be a list of texts, not [5]"),
    "reads a mapping": ("- second", "- {chapter: second, reads: [{a: 1}]}", "second: reads must be a list of texts"),
    "needs a list": ("- second", "- {chapter: second, needs: [[first]]}", "second: needs must be a list of texts"),
    "publishes elsewhere": ("[table]", "[../table]", "publish '../table' cannot name a file or folder"),
    "publishes a number": ("[table]", "[7]", "publish must be a list of texts, not [7]"),
    "hidden name": ("name: demo", "name: .demo", "name '.demo' cannot name a file or folder"),
    "long name": ("name: demo", f"name: {'d' * 300}", "… (302 letters) cannot name a file or folder"),
    "chapter is a list": ("- second", "- {chapter: [second]}", "chapter ['second'] cannot name a file or folder"),
    "rows of one value": (
        "publish:",
        f"{REPLAY}, rows: {{a: 5}}}}\npublish:",
        "rows: a must be a list of values, not 5",
    ),
    "rows of lists": ("publish:", f"{REPLAY}, rows: {{a: [[5]]}}}}\npublish:", "rows: a must be a list of values"),
    "5,000 digits": ("count: 4", f"count: {'9' * 5000}", "demo.yaml, line 4: it has '999"),
    "beyond 64 bits": ("count: 4", f"count: {2**63}", "line 4: it has the number '9223372036854775808' beyond 64 bits"),
    "deep": ("count: 4", f"count: {'[' * 9999}", "line 4: it has more than 10 lists and mappings inside one another"),
    "aliases": (
        "publish:",
        "expected: &a {b: 1}\ndefaults: *a\npublish:",
        "line 7: it has the alias *a (write the value",
    ),
    "expects lists": ("publish:", "expected: {a: [1, 2]}\npublish:", "expected: a must be a number or a short text"),
    "expects escapes": (
        "publish:",
        'expected: {a: "\\e[2J"}\npublish:',
        "expected: a must be a number or a short text",
    ),
    "tag": ("count: 4", "count: !!python/name:os.system x", "line 4: it has the tag tag:yaml.org,2002:python/name:os"),
    "date": (
        "count: 4",
        "name: 2020-01-01",
        "line 4: it has '2020-01-01', which YAML takes for a timestamp (quote it)",
    ),
    "key is a number": ("count: 4", "4: 4", "demo.yaml, line 4: it has the key '4', which is no text (quote it)"),
    "sign that is none": ("count: 4", 'name: "\\ud800"', "line 4: it has '\\ud800', which is no text"),
    "3 MB": ("publish:", "# words\n" * 400_000 + "publish:", "demo.yaml: a run file has at most 32 kB"),
    "key twice": ("{count: 4}", "{count: 4, count: 5}", "demo.yaml, line 4: it has the key 'count' twice"),
}


@pytest.mark.parametrize("old, new, told", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_with_status_2_and_no_kernel(fresh_book, no_kernel, monkeypatch, capsys, old, new, told):
    fresh_book.edit(fresh_book.run_file, old, new)
    status, lines = through_command_line(monkeypatch, capsys, "run", fresh_book.run_file, "--out", fresh_book.out)
    assert status == 2
    assert len(lines) == 1 and lines[0].startswith("fgq: ") and told in lines[0]
    assert len(lines[0]) < 600 and not fresh_book.out.exists()


GOOD = {
    "name": "demo",
    "description": "words",
    "expected": {"minutes": 1},
    "defaults": {"count": 3},
    "chapters": ["first", {"chapter": "second", "parameters": {"seed": 1}, "needs": ["first"], "reads": ["a/b.csv"]}],
    "publish": ["table"],
    "replay": {"parameters": {"count": 1}, "compare": ["value"], "tolerance": 0.1, "rows": {"a": ["b"]}},
}
NAMES = st.sampled_from(["first", "second", "count", "seed", "table", "..", "a/b", "/x", "", "\0", "é" * 60, "x.csv"])
SCALARS = st.one_of(NAMES, st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.dates())
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.integers(), inner, max_size=3)
)


def places(content, path=()):
    """Ways to everything inside nested lists and mappings."""
    inside = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [path, *(place for key, value in inside for place in places(value, (*path, key)))]


def put(content, path, value):
    """A copy of the content with another value at one place."""
    if not path:
        return value
    copy = content.copy()
    copy[path[0]] = put(content[path[0]], path[1:], value)
    return copy


def test_any_content_is_a_run_file_or_told_in_one_line(fresh_book, monkeypatch):
    outcomes = []
    monkeypatch.setattr("fgq.runs.execute.source_hash", lambda _: "the same")  # which takes most of a key's time

    @settings(max_examples=150, deadline=None, derandomize=True, database=None)
    @given(
        st.sampled_from(places(GOOD)), ANYTHING, st.text("[]{}&*!%:,-?|>'\"\n\t a0\0\ud800", max_size=4), st.integers(0)
    )
    def try_one(path, value, noise, place):
        text = yaml.dump(put(GOOD, path, value))
        text = text[: place % len(text)] + noise + text[place % len(text) :]
        fresh_book.run_file.write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            run = read_run_file(fresh_book.run_file)
        except FgqError as error:
            told = str(error)
            assert len(told.splitlines()) == 1 and len(told) < 600 and str(fresh_book.pages) in told
            outcomes.append("told")
            return
        names = [run.name, *run.publish, *(step.chapter.name for step in run.steps)]
        names += [file for step in run.steps for file in step.reads]
        assert all(str(Path("/inside", name).resolve()).startswith("/inside/") for name in names)
        find_keys(run)
        outcomes.append("read")

    try_one()
    assert {"told", "read"} == set(outcomes)


CHAPTER_MISTAKES = {
    "derived": ("count = 3", "count = 3\ntwice = 2 * count", "line 2 of the parameters cell is not a plain assignment"),
    "call": ("count = 3", "count = int(3)", "line 1 of the parameters cell is not a plain assignment"),
    "import": ("count = 3", "import os", "line 1 of the parameters cell is not a plain assignment"),
    "no python": ("count = 3", "count = = 3", "code cell 1, line 1: invalid syntax"),
    "no kernel": ("kernelspec:\n  display_name: Python 3\n  language: python\n  name: python3\n", "", "no kernelspec"),
}


@pytest.mark.parametrize("old, new, told", CHAPTER_MISTAKES.values(), ids=CHAPTER_MISTAKES)
def test_a_mistake_in_a_chapter_is_found_before_any_kernel(fresh_book, no_kernel, monkeypatch, capsys, old, new, told):
    fresh_book.edit(fresh_book.pages / "first.md", old, new)
    status, lines = through_command_line(monkeypatch, capsys, "run", fresh_book.run_file, "--out", fresh_book.out)
    assert status == 2 and len(lines) == 1
    assert "first.md" in lines[0] and told in lines[0]


def test_a_missing_run_file_and_an_unknown_chapter_to_run(fresh_book, no_kernel, monkeypatch, capsys):
    status, lines = through_command_line(monkeypatch, capsys, "run", fresh_book.root / "no.yaml")
    assert status == 2 and lines == [f"fgq: {fresh_book.root / 'no.yaml'}: no such run file"]
    status, lines = through_command_line(monkeypatch, capsys, "run", fresh_book.run_file, "--only", "third")
    assert status == 2 and len(lines) == 1 and "no chapter 'third'; it has first, second" in lines[0]


def test_a_crash_of_a_chapter_is_status_1(executed_book, monkeypatch, capsys):
    executed_book.edit(executed_book.pages / "second.md", "value = int", "value = [][0] + int")
    status, lines = through_command_line(monkeypatch, capsys, "run", executed_book.run_file, "--out", executed_book.out)
    assert status == 1
    assert lines[-1].startswith(
        'fgq: chapter second, code cell 2 of 3, line 2 (value = [][0] + int(Path("sum-0.txt").read_text()) * factor): '
        "IndexError: list index"
    )
    assert not any("Traceback" in line for line in lines)


def test_values_come_through_unchanged(fresh_book):
    fresh_book.edit(fresh_book.run_file, "{count: 4}", "{count: 4, rate: 1, seeds: [3], name: 'true'}")
    fresh_book.edit(fresh_book.run_file, "publish:", "defaults: {seed: 9, fast: false, count: 8}\npublish:")
    first, second = read_run_file(fresh_book.run_file).steps
    # the chapter's own entry wins over defaults; a default goes to the chapters that declare it
    assert first.parameters == {"fast": False, "count": 4, "rate": 1, "seeds": [3], "name": "true"}
    assert first.all_parameters == first.parameters
    assert second.all_parameters == {"factor": 10, "seed": 9}
    assert type(first.parameters["rate"]) is int


def test_needs_are_all_earlier_chapters_unless_said(fresh_book):
    assert [step.needs for step in read_run_file(fresh_book.run_file).steps] == [(), ("first",)]
    fresh_book.edit(fresh_book.run_file, "- second", "- {chapter: second, needs: []}")
    assert [step.needs for step in read_run_file(fresh_book.run_file).steps] == [(), ()]


def test_not_a_mapping(fresh_book):
    fresh_book.run_file.write_text("- first\n")
    with pytest.raises(FgqError, match="a run file is a mapping"):
        read_run_file(fresh_book.run_file)
    fresh_book.run_file.write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(FgqError, match="not YAML"):
        read_run_file(fresh_book.run_file)
