"""The pages of an executed run."""

import re

import pytest

from fgq.errors import FgqError, RunFailure
from fgq.runs.book import build_book
from fgq.runs.folder import RunFolder
from fgq.runs.runfile import read_run_file


def build(book):
    return build_book(read_run_file(book.run_file), RunFolder(book.out), book.root)


def test_pages_show_the_run_and_work_offline(executed_book):
    first = build(executed_book)
    assert first.name == "index.html"
    pages = {name: (first.parent / "pages" / f"{name}.html").read_text() for name in ("first", "second", "words")}
    assert "4 0.5 a [0, 1] True" in pages["first"]  # the run's parameters, not the chapter's
    assert re.search(r"<pre>.*?40.*?</pre>", pages["second"], re.DOTALL)
    assert 'href="first.html#chapter-first"' in pages["words"]
    assert "Computed by run demo" in pages["words"]
    for name in ("first", "second"):
        assert "What this page cost" in pages[name] and "not run in this environment" not in pages[name]
        assert "Computed by run demo.yaml; finished" in pages[name] and "code cells: number" in pages[name]
        assert "What this page cost" not in (executed_book.out / "notebooks" / f"{name}.ipynb").read_text()
    assert "nothing was computed for it" in pages["words"] and "What this page cost" not in pages["words"]
    formulas = re.findall(r'<script[^>]*src="([^"]*mathjax[^"]*)"', pages["words"])
    assert formulas and all((first.parent / "pages" / path.split("?")[0]).is_file() for path in formulas)
    for name, page in pages.items():
        loaded = re.findall(
            r'<(?:script|img)[^>]*src="(https?:[^"]*)"|<link[^>]*stylesheet[^>]*href="(https?:[^"]*)"', page
        )
        assert not loaded, name


def test_pages_are_built_again_only_when_something_changed(executed_book, monkeypatch):
    built = []

    def pretend(folder, stage):
        built.append(sorted(path.name for path in stage.rglob("*.ipynb")))
        (stage / "_build" / "html").mkdir(parents=True)
        (stage / "_build" / "html" / "index.html").write_text("<p>")

    monkeypatch.setattr("fgq.runs.book.run_sphinx", pretend)
    first = build(executed_book)
    assert build(executed_book) == first and len(built) == 1
    executed_book.edit(executed_book.out / "provenance" / "first.json", '"seconds"', '"seconds" ')  # nothing but layout
    assert build(executed_book) == first and len(built) == 1
    changes = [
        lambda: executed_book.edit(executed_book.pages / "words.md", "Back to", "Go to"),
        lambda: executed_book.edit(executed_book.out / "provenance" / "first.json", '"finished": "2', '"finished": "1'),
        lambda: executed_book.edit(executed_book.root / "_config.yml", "title: ", "title: New "),
        lambda: (executed_book.pages / "new.png").write_bytes(b"png"),
        first.unlink,
    ]
    for count, change in enumerate(changes, start=2):
        change()
        assert build(executed_book) == first and len(built) == count


def test_a_warning_stops_the_build_and_is_told(executed_book):
    executed_book.edit(executed_book.pages / "words.md", "#chapter-first", "#chapter-nowhere")
    with pytest.raises(RunFailure, match=r"did not build: .*words\.md.*chapter-nowhere"):
        build(executed_book)


def test_a_page_with_code_that_was_not_run_is_refused(executed_book):
    (executed_book.out / "notebooks" / "second.ipynb").unlink()
    with pytest.raises(FgqError, match=r"lists pages/second, but demo\.yaml did not run it"):
        build(executed_book)
    executed_book.edit(executed_book.root / "_toc.yml", "pages/second", "pages/third")
    with pytest.raises(FgqError, match=r"lists pages/third, but there is no .*third\.md"):
        build(executed_book)
