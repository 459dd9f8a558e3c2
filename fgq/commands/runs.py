"""The command `fgq run`."""

from pathlib import Path
from typing import Annotated

import typer

from fgq.commands.door import Stopped
from fgq.errors import FgqError


def run(
    file: Path,
    out: Annotated[Path | None, typer.Option(help="run folder; out/NAME of the run file where not given")] = None,
    force: Annotated[bool, typer.Option(help="run chapters that are up to date too")] = False,
    only: Annotated[str | None, typer.Option(help="one chapter, with those it needs")] = None,
    first: Annotated[str | None, typer.Option("--from", help="a chapter, and all after it")] = None,
    values: Annotated[
        list[str] | None,
        typer.Option("-p", "--parameter", metavar="NAME=VALUE", help="another value of a parameter; repeatable"),
    ] = None,
    build: Annotated[bool, typer.Option(help="build the HTML book afterwards")] = False,
    cell_seconds: Annotated[int | None, typer.Option(help="time limit of one cell", min=1)] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="say what every chapter will take here, and run nothing")
    ] = False,
    help_parameters: Annotated[bool, typer.Option(help="say what every chapter may be given, and run nothing")] = False,
) -> None:
    """Execute the chapters that a run file names; go on where an earlier run stopped.

    What fails is told in the end, and keeps only chapters that need it from running.
    """
    if only and (build or first):
        raise FgqError(f"--{'build' if build else 'from'} is about several chapters: leave --only away")
    from fgq.runs import unchanged

    place = out or Path("out") / file.stem
    inputs = unchanged.inputs_state(file, [sorted(values or []), build])
    if not (force or only or first or dry_run or help_parameters) and unchanged.is_unchanged(place, inputs):
        typer.echo(f"up to date: nothing has changed since the last run in {place}")
        if build:
            typer.echo(f"the book is ready, open {page_of(place).as_uri()}")
        return
    from fgq.runs.execute import asked_for, execute, needed_by
    from fgq.runs.needs import check_roots
    from fgq.runs.runfile import read_run_file

    plan = read_run_file(file).with_parameters(read_values(values or []))
    chosen = set().union(*(needed_by(plan, name) for name in asked_for(plan, only, first)))
    if help_parameters:
        show_parameters([step for step in plan.steps if step.chapter.name in chosen])
        return
    place = out or Path("out") / plan.name
    if dry_run:
        show_outlook(plan, chosen, place)
        return
    check_roots(plan, chosen)
    expected = "".join(f"; {name}: {value}" for name, value in plan.expected.items())
    typer.echo(f"{plan.name}: {len(plan.steps)} chapters{expected}")
    try:
        folder = execute(plan, place, force, cell_seconds, report=typer.echo, only=only, first=first)
    except KeyboardInterrupt as error:
        raise Stopped(f"stopped; finished chapters are kept in {place}: the same command goes on") from error
    typer.echo(f"notebooks, artefacts and provenance: {folder.root}")
    if build:
        from fgq.runs.book import build_book

        typer.echo("building the pages")
        typer.echo(f"the book is ready, open {build_book(plan, folder, plan.book.parent).as_uri()}")
    if not (only or first):
        unchanged.mark_unchanged(folder.root, inputs)


def page_of(place: Path) -> Path:
    """The first page of a built book."""
    return (place / "book" / "_build" / "html" / "index.html").resolve()


def show_outlook(plan, chosen: set[str], out: Path) -> None:
    """Raises FgqError with all that keeps the run from starting."""
    from fgq.runs.dry_run import describe, look_ahead

    outlook = look_ahead(plan, chosen, out)
    for line in describe(outlook):
        typer.echo(line)
    if outlook.lacks:
        raise FgqError(f"{plan.name} cannot run here: {'; '.join(outlook.lacks)}")
    typer.echo(f"{plan.name} can run here")


def read_values(told: list[str], option: str = "-p") -> dict:
    """seed=3, root=/data/co3d, seeds=[0, 1]: values as in a run file. Raises FgqError for what is no value there."""
    from fgq.runs.plain_yaml import parse_yaml

    found = {}
    for text in told:
        name, sign, value = text.partition("=")
        if not sign or not name.isidentifier():
            raise FgqError(f"{option} {text}: write NAME=VALUE, such as seed=3")
        if name in found:
            raise FgqError(f"{option} {name}= is given twice: leave one away")
        found[name] = parse_yaml(value, f"{option} {name}=")
    return found


def show_parameters(steps: list) -> None:
    from fgq.runs.parameters import describe

    for step in steps:
        typer.echo(f"\n{step.chapter.name}")
        for name, value in step.all_parameters.items():
            kind, unit, about = describe(name, value)
            typer.echo(f"  {name} = {value!r}\n      {about} ({kind}{', in ' if unit else ''}{unit})")
