"""Commands about whole runs: `fgq run` and `fgq compare`."""

from pathlib import Path
from typing import Annotated

import typer

from fgq.commands.door import Stopped, say
from fgq.errors import FgqError


def run(
    file: Path,
    out: Annotated[Path | None, typer.Option(help="run folder; out/NAME of the run file where not given")] = None,
    force: Annotated[bool, typer.Option(help="run chapters that are up to date too")] = False,
    only: Annotated[str | None, typer.Option(help="one chapter, with those it needs")] = None,
    build: Annotated[bool, typer.Option(help="build the HTML book afterwards")] = False,
    cell_seconds: Annotated[int | None, typer.Option(help="time limit of one cell", min=1)] = None,
) -> None:
    """Execute the chapters that a run file names; go on where an earlier run stopped."""
    if build and only:
        raise FgqError("--build needs all chapters: leave --only away")
    from fgq.runs.runfile import read_run_file

    plan = read_run_file(file)
    if only:
        plan.step(only)
    expected = "".join(f"; {name}: {value}" for name, value in plan.expected.items())
    typer.echo(f"{plan.name}: {len(plan.steps)} chapters{expected}")
    from fgq.runs.execute import execute

    place = out or Path("out") / plan.name
    try:
        folder = execute(plan, place, force, cell_seconds, report=typer.echo, only=only)
    except KeyboardInterrupt as error:
        raise Stopped(f"stopped; finished chapters are kept in {place}: the same command goes on") from error
    typer.echo(f"notebooks, artefacts and provenance: {folder.root}")
    if build:
        from fgq.runs.book import build_book

        typer.echo("building the pages")
        typer.echo(f"the book is ready, open {build_book(plan, folder, plan.book.parent).as_uri()}")


def compare(
    first: Path,
    second: Path,
    within: Annotated[
        float | None,
        typer.Option(help="Also say in words what is better, worse, or equivalent within so many percent."),
    ] = None,
) -> None:
    """Paired differences of FIRST from SECOND on the same scenes: two reports (CSV) or two run folders."""
    from fgq.commands.compare import compare, in_words, without_difference

    words = [] if within is None else in_words(first, second, within / 100)
    found = compare(first, second)
    typer.echo(found.to_string(index=False))
    for line in words:
        typer.echo(line)
    missing = without_difference(found)
    if missing:
        say(f"no difference in {', '.join(missing)}: a scene has no value there in one of the reports (see its note)")
