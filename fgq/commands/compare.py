"""The command `fgq compare`."""

from pathlib import Path
from typing import Annotated

import typer

from fgq.commands.door import say
from fgq.errors import FgqError


def compare(
    first: Annotated[Path, typer.Argument(help="a report (CSV), a run's folder or a sweep's folder")],
    second: Annotated[
        Path | None, typer.Argument(help="what it is compared with; none for a sweep with --against")
    ] = None,
    within: Annotated[
        float | None,
        typer.Option(help="Also say in words what is better, worse, or equivalent within so many percent."),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="within a sweep: the points that the others are compared with"),
    ] = None,
    metric: Annotated[list[str] | None, typer.Option(help="only this one, of those in the reports; repeatable")] = None,
    csv: Annotated[Path | None, typer.Option(help="file for all numbers, with the verdicts")] = None,
    markdown: Annotated[Path | None, typer.Option(help="file for a table of what has a verdict, as text")] = None,
    latex: Annotated[Path | None, typer.Option(help="file for the same, for the package booktabs")] = None,
    figures: Annotated[Path | None, typer.Option(help="new folder for drawings of it, PNG and SVG")] = None,
) -> None:
    """Paired differences of FIRST from SECOND on the same scenes, with 95 % intervals and verdicts.

    Two reports, or two runs or sweeps, whose reports pair by name; or the points of one sweep against those that
    --against chooses, such as --against recipe=rtn: points that differ by their seed alone are then taken together,
    and each is compared with the chosen one of its own bits, dataset and so on.

    A verdict is better, worse, equivalent within the bound of --within (30 percent in files, unless told), or not
    decided, corrected for the number of comparisons (Holm). Verdicts are given of the deviations from full precision,
    of reports without them of the headline metrics, or of each --metric; not where a mean is zero.
    """
    from fgq.commands.pairs import find_pairs, without_difference
    from fgq.commands.runs import read_values
    from fgq.evaluation.comparison import compared, judged_metrics
    from fgq.evaluation.report import MODEL
    from fgq.evaluation.verdict import WITHIN, tell, verdicts
    from fgq.writing import check_file, check_new_folder

    for path in filter(None, (csv, markdown, latex)):
        check_file(path)
    if figures:
        check_new_folder(figures)
    if within is not None and not 0 < within < float("inf"):
        raise FgqError(f"--within {within}: give percent above 0")
    bound = WITHIN if within is None else within / 100
    pairs = find_pairs(first, second, read_values(against or [], "--against"))
    wants_words = within is not None or any((csv, markdown, latex, figures))
    found = compared(pairs, metric, bound if wants_words else None)
    shown = ["report", *MODEL, "metric", "unit", "difference", "low", "high", "npd", "harm", "better", "worse"]
    typer.echo(found[[*shown[1:], "seeds", "scenes", "report"]].to_string(index=False))
    for name, ours, theirs in pairs if within is not None else ():
        if len(pairs) > 1:
            typer.echo(f"against {name}:" if second is None else f"{name}:")
        judged = judged_metrics(ours, theirs, metric)
        for line in tell(verdicts(ours, theirs, judged, bound)) if judged else ():
            typer.echo(line)
    write_files(found, csv, markdown, latex, bool(metric))
    if figures:
        draw(found, pairs, figures)
    missing = without_difference(found)
    if missing:
        say(f"no difference in {', '.join(missing)}: a scene has no value there in one of the reports (see its note)")


def write_files(found, csv: Path | None, markdown: Path | None, latex: Path | None, every_row: bool) -> None:
    """Tables for people hold what was judged, where anything was, unless `every_row` is wanted."""
    from fgq.evaluation.comparison import comparison_latex, comparison_markdown, csv_text
    from fgq.writing import write_text

    judged = found if every_row or (found.verdict == "").all() else found[found.verdict != ""]
    for path, make, table in (
        (csv, csv_text, found),
        (markdown, comparison_markdown, judged),
        (latex, comparison_latex, judged),
    ):
        if path:
            write_text(path, make(table), "the comparison")
            typer.echo(f"{path}")


def named(figure, reference):
    """With the name of what the scenes are compared with, at the axis where it stands."""
    for axis in figure.axes:
        axis.set_xlabel(reference.frame.recipe.iloc[0])
    return figure


def draw(found, pairs: list, folder: Path) -> None:
    """changes.png and .svg, of all that was judged; scenes-1.png and so on, each scene of a pair against the other."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    from fgq.evaluation.comparison import judged_metrics
    from fgq.plots import show_comparison_changes, show_scene_scatter
    from fgq.writing import whole_folder

    drawn = {}
    if (found.verdict != "").any():
        drawn["changes"] = lambda: show_comparison_changes(found)
    wanted = list(found.metric[found.verdict != ""].unique())
    for number, (_, ours, theirs) in enumerate(pairs, start=1):
        metrics = [name for name in judged_metrics(ours, theirs, wanted)]
        if metrics:
            drawn[f"scenes-{number}"] = lambda a=ours, b=theirs, m=metrics: named(show_scene_scatter(a, b, m), b)
    if not drawn:
        raise FgqError("--figures: nothing was judged, so there is nothing to draw: choose a --metric")
    with whole_folder(folder, "the figures") as part:
        for name, make in drawn.items():
            figure = make()
            for kind in ("png", "svg"):
                figure.savefig(part / f"{name}.{kind}", dpi=150)
            pyplot.close(figure)
    typer.echo(f"{folder}: {', '.join(drawn)}")
