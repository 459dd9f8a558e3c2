"""The commands `fgq datasets`, `fgq datasets check` and `fgq datasets protocols`."""

from pathlib import Path
from typing import Annotated

import typer

from fgq.errors import FgqError

datasets = typer.Typer(add_completion=False)


@datasets.callback(invoke_without_command=True)
def show(context: typer.Context) -> None:
    """Datasets, what each needs on disk, and its published frames.

    `check` verifies a download, `protocols` lists published evaluations.
    """
    if context.invoked_subcommand is not None:
        return
    from fgq.data.check import listing

    told = "needs", "splits", "calibration", "options", "licence"
    for name, splits, calibration, options, needs, licence in listing():
        lines = zip(told, (needs, splits, calibration, options, licence), strict=True)
        typer.echo("\n  ".join([name, *(f"{what:11s}  {line}" for what, line in lines)]))


@datasets.command()
def check(
    name: str,
    root: Path,
    split: Annotated[str | None, typer.Option(help="the dataset's usual one where not given")] = None,
    only: Annotated[list[str] | None, typer.Option(help="sequence, scene or category; may be given again")] = None,
    frame_list: Annotated[Path | None, typer.Option(help="look at the frames of this list")] = None,
    every_frame: Annotated[bool, typer.Option(help="all frames, not only the published choice")] = False,
) -> None:
    """Read what an evaluation would read of a download, and say all that is wrong with it."""
    from fgq.data.check import check_dataset

    found = check_dataset(name, root, split, frame_list, tuple(only or ()), every_frame)
    for problem in found.problems:
        typer.echo(f"{problem.sequence}: {problem.reason}", err=True)
    known = f" ({found.published} in published evaluations)" if found.published else ""
    about = f"{name}, split {found.split}: sequences {found.sequences}{known}, frames read {found.frames}"
    if found.problems:
        broken = len({problem.sequence for problem in found.problems})
        raise FgqError(f"{about}, {len(found.problems)} problems in {broken} sequences: mend them, or download again")
    typer.echo(f"{about}; nothing is wrong (frame list {found.frame_list.hash[:16]})")


@datasets.command()
def protocols() -> None:
    """Published evaluations by name: what they take and how they measure, for fgq evaluate --protocol."""
    from fgq.data.protocols import PROTOCOLS

    for name, protocol in PROTOCOLS.items():
        typer.echo(f"{name}\n  takes    {protocol}\n  source   {protocol.source}")
        if protocol.unlike:
            typer.echo(f"  unlike   {'; '.join(protocol.unlike)}")
