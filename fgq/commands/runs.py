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
    help_parameters: Annotated[bool, typer.Option(help="say what every chapter may be given, and run nothing")] = False,
) -> None:
    """Execute the chapters that a run file names; go on where an earlier run stopped.

    What fails is told in the end, and keeps only chapters that need it from running.
    """
    if only and (build or first):
        raise FgqError(f"--{'build' if build else 'from'} is about several chapters: leave --only away")
    from fgq.runs.execute import asked_for, execute
    from fgq.runs.runfile import read_run_file

    plan = read_run_file(file).with_parameters(read_values(values or []))
    chosen = asked_for(plan, only, first)
    if help_parameters:
        show_parameters([step for step in plan.steps if step.chapter.name in chosen])
        return
    expected = "".join(f"; {name}: {value}" for name, value in plan.expected.items())
    typer.echo(f"{plan.name}: {len(plan.steps)} chapters{expected}")
    place = out or Path("out") / plan.name
    try:
        folder = execute(plan, place, force, cell_seconds, report=typer.echo, only=only, first=first)
    except KeyboardInterrupt as error:
        raise Stopped(f"stopped; finished chapters are kept in {place}: the same command goes on") from error
    typer.echo(f"notebooks, artefacts and provenance: {folder.root}")
    if build:
        from fgq.runs.book import build_book

        typer.echo("building the pages")
        typer.echo(f"the book is ready, open {build_book(plan, folder, plan.book.parent).as_uri()}")


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
