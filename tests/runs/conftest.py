"""A book of two tiny chapters, executed once a session."""

import shutil
from pathlib import Path

import pytest

HEADER = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---
"""


def chapter_text(title: str, parameters: str, *cells: str) -> str:
    code = [f"```{{code-cell}} ipython3\n:tags: [parameters]\n\n{parameters}\n```"]
    code += [f"Words.\n\n```{{code-cell}} ipython3\n{cell}\n```" for cell in cells]
    return HEADER + f"\n(chapter-{title})=\n# {title}\n\n" + "\n\n".join(code) + "\n"


FIRST = chapter_text(
    "first",
    'count = 3\nrate = 0.5\nname = "a"\nseeds = [0, 1]\nfast = True',
    "from pathlib import Path\nimport os, sys",
    'for s in seeds:\n    Path(f"sum-{s}.txt").write_text(str(count + s))',
    "print(count, rate, name, seeds, fast, sys.executable, os.getcwd())",
)
SECOND = chapter_text(
    "second",
    "factor = 10\nseed = 7",
    'from pathlib import Path\nvalue = int(Path("sum-0.txt").read_text()) * factor',
    'Path("table.csv").write_text(f"value,files\\n{value},{len(list(Path().glob(\'sum-*\')))}\\n")\nvalue',
)
RUN = """name: demo
chapters:
  - chapter: first
    parameters: {count: 4}
  - second
publish: [table]
"""
CONFIG = (Path(__file__).parents[2] / "_config.yml").read_text()
CONTENTS = "format: jb-book\nroot: pages/first\nchapters:\n  - file: pages/second\n  - file: pages/words\n"
WORDS = "# Words only\n\nBack to [](#chapter-first), {cite}`someone` and $x^2$.\n\n```{bibliography}\n```\n"
REFERENCES = "@article{someone,\n author={A. Author},\n title={A title},\n journal={A journal},\n year={2020}\n}\n"


class TinyBook:
    def __init__(self, root: Path):
        self.root, self.pages, self.out = root, root / "pages", root / "out"

    @property
    def run_file(self) -> Path:
        return self.pages / "runs" / "demo.yaml"

    def write(self) -> "TinyBook":
        self.run_file.parent.mkdir(parents=True)
        self.run_file.write_text(RUN)
        files = {"first.md": FIRST, "second.md": SECOND, "words.md": WORDS, "references.bib": REFERENCES}
        for name, text in files.items():
            (self.pages / name).write_text(text)
        (self.root / "_config.yml").write_text(CONFIG.replace("book/references.bib", "pages/references.bib"))
        (self.root / "_toc.yml").write_text(CONTENTS)
        return self

    def edit(self, file: Path, old: str, new: str) -> None:
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    def execute(self, **options):
        """The run folder, and what was reported, one line an event."""
        from fgq.runs.execute import execute
        from fgq.runs.runfile import read_run_file

        told: list[str] = []
        return execute(read_run_file(self.run_file), self.out, report=told.append, **options), told


@pytest.fixture(scope="session")
def tiny_book() -> type[TinyBook]:
    """tiny_book(folder).write() makes one; tiny_book(folder) is one that is there."""
    return TinyBook


@pytest.fixture
def fresh_book(tmp_path) -> TinyBook:
    """Not executed yet."""
    return TinyBook(tmp_path / "demo").write()


@pytest.fixture(scope="session")
def executed_once(tmp_path_factory):
    book = TinyBook(tmp_path_factory.mktemp("session") / "demo").write()
    _, told = book.execute()
    return book, told


@pytest.fixture
def executed_book(executed_once, tmp_path) -> TinyBook:
    """A copy of the executed book; the test may change it."""
    shutil.copytree(executed_once[0].root, tmp_path / "demo")
    return TinyBook(tmp_path / "demo")


@pytest.fixture
def no_kernel(monkeypatch):
    """Fails the test when a kernel would start."""

    def refuse(*_, **__):
        raise AssertionError("a kernel was started")

    monkeypatch.setattr("papermill.execute_notebook", refuse)
