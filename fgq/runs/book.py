"""The HTML book of an executed run."""

import hashlib
import json
import re
import shutil
import subprocess
from html import escape
from pathlib import Path

import nbformat
import yaml

from fgq.errors import FgqError, RunFailure
from fgq.processes import bound_command
from fgq.provenance.record import read_json, version_of
from fgq.provenance.source import text_hash
from fgq.runs.folder import RunFolder
from fgq.runs.kernel import NOTE, end_kernel
from fgq.runs.page import with_costs, with_footer
from fgq.runs.runfile import RunFile
from fgq.writing import write_json, write_text

JUPYTER_BOOK = "jupyter_book.cli.main:main"
STRICT = ["-W", "-n", "--keep-going"]  # every warning is an error, so is a reference to nowhere; but tell all of them
STATIC = "_static"
FRESH, READY = "book.fresh", "book.json"  # in the run's folder: pages being laid out, and what the built ones are of
BUILDERS = ("jupyter-book", "sphinx", "sphinx-book-theme", "myst-nb", "sphinx-exercise", "sphinx-proof")
NO_PAGES = shutil.ignore_patterns("*.md", "*.ipynb", ".*", "runs", "results", "__pycache__")


def build_book(run: RunFile, folder: RunFolder, root: Path) -> Path:
    """Builds the pages from the run's notebooks, warnings as errors, nothing executed again; returns the first page.

    Where no page, record, figure, configuration or builder has changed since the last time, the pages stay as they are.

    `root` holds _config.yml and _toc.yml. A page that is no chapter of the run is taken as it is, if it has no code.
    Raises FgqError when a page has code and was not run or another run works in the folder, RunFailure when the build
    complains.
    """
    with folder.locked():
        return build_pages(run, folder, root)


def build_pages(run: RunFile, folder: RunFolder, root: Path) -> Path:
    stage, ready = folder.root / "book", folder.root / READY
    fresh = folder.root / FRESH
    shutil.rmtree(fresh, ignore_errors=True)
    lay_out(run, folder, root, fresh)
    state, first = fingerprint(fresh), stage / "_build" / "html" / "index.html"
    if read_json(ready).get("pages") == state and first.is_file():
        shutil.rmtree(fresh)
        return first
    ready.unlink(missing_ok=True)
    shutil.rmtree(stage, ignore_errors=True)
    fresh.rename(stage)
    run_sphinx(folder, stage)
    write_json(ready, {"pages": state})
    return first


def lay_out(run: RunFile, folder: RunFolder, root: Path, stage: Path) -> None:
    """All that pages are built from: their texts and notebooks, figures, configuration."""
    shutil.copytree(run.book, stage / run.book.name, ignore=NO_PAGES)
    if (run.book / STATIC).is_dir():
        shutil.copytree(run.book / STATIC, stage / STATIC)  # style sheets are looked for beside the configuration
    shutil.copyfile(root / "_toc.yml", stage / "_toc.yml")
    write_config(root / "_config.yml", stage / "_config.yml", edition(run, folder))
    for page in pages(yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))):
        source = find_page(run, folder, root, page)
        (stage / page).parent.mkdir(parents=True, exist_ok=True)
        write_text(stage / f"{page}{source.suffix}", page_text(source, read_json(folder.record(source.stem))))


def page_text(source: Path, record: dict) -> str:
    """Of an executed notebook or a page of words, with what it says of itself."""
    if source.suffix != ".ipynb":
        return with_footer(source.read_text(encoding="utf-8"))
    if not record:
        raise FgqError(f"{source}: its record is missing or broken: run the chapter again")
    return nbformat.writes(with_costs(nbformat.read(source, as_version=4), record)) + "\n"


def fingerprint(stage: Path) -> str:
    """Of every file that pages are built from and of what builds them."""
    files = {
        path.relative_to(stage).as_posix(): file_bytes_hash(path) for path in sorted(stage.rglob("*")) if path.is_file()
    }
    return text_hash(json.dumps([files, versions_of_builders()]))


def versions_of_builders() -> dict[str, str]:
    return {name: version_of(name) for name in BUILDERS}


def file_bytes_hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def run_sphinx(folder: RunFolder, stage: Path) -> None:
    """Raises RunFailure when it complains or makes no page."""
    folder.kernel.mkdir()
    command = bound_command(folder.kernel / NOTE, JUPYTER_BOOK, "build", str(stage), *STRICT)
    try:
        done = subprocess.run(command, capture_output=True, text=True, start_new_session=True)
    finally:
        end_kernel(folder.kernel, 0)
    log = folder.root / "build.log"
    said = re.sub(r"\x1b\[[\d;]*m", "", done.stdout + done.stderr)  # without colours
    log.write_text(said, encoding="utf-8")
    first = stage / "_build" / "html" / "index.html"
    if done.returncode or not first.is_file():
        told = [line for line in said.splitlines() if "WARNING" in line or "ERROR" in line]
        more = f", and {len(told) - 1} more" if len(told) > 1 else ""
        raise RunFailure(f"the book did not build: {(told or ['no page came out'])[0]}{more} (all of it: {log})")


def find_page(run: RunFile, folder: RunFolder, root: Path, page: str) -> Path:
    executed = folder.notebook(Path(page).name)
    if executed.is_file():
        return executed
    text = root / f"{page}.md"
    if not text.is_file():
        raise FgqError(f"{root / '_toc.yml'} lists {page}, but there is no {text}")
    if "{code-cell}" in text.read_text(encoding="utf-8"):
        raise FgqError(f"_toc.yml lists {page}, but {run.path.name} did not run it: add the chapter to the run file")
    return text


def edition(run: RunFile, folder: RunFolder) -> str:
    """One line of HTML at the foot of every page: which run the book shows."""
    records = [read_json(folder.record(step.chapter.name)) for step in run.steps]
    newest = max((record for record in records if record), key=lambda record: record["finished"], default=None)
    if newest is None:
        return ""
    facts = [f"run {run.name}", newest["finished"][:10], newest["device"], f"commit {newest['commit'][:12]}"]
    return f"<p>Computed by {escape(', '.join(facts))}</p>"


def write_config(source: Path, target: Path, footer: str) -> None:
    config = yaml.safe_load(source.read_text(encoding="utf-8"))
    config.setdefault("html", {})["extra_footer"] = footer
    target.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")


def pages(contents: dict) -> list[str]:
    """All files of a table of contents, the root first."""
    found = [contents[key] for key in ("root", "file") if key in contents]
    for key in ("parts", "chapters", "sections"):
        for entry in contents.get(key, []):
            found += pages(entry)
    return found
