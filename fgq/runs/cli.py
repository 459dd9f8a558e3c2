"""The command line: the same verbs as in Python, one line and exit status 2 for bad input."""

import shutil
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from fgq.errors import FgqError
from fgq.runs.costs_cli import info, random_weights
from fgq.runs.datasets import datasets, load_told
from fgq.runs.failure import RunFailure
from fgq.runs.options import Count, Dataset, Device, Frames, Precision, RecipeFields, Root, Seed, Size, read_fields
from fgq.runs.pictures_cli import predict, render

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(datasets, name="datasets")
for verb in (info, random_weights, render, predict):
    app.command()(verb)

BOOK_PACKAGES = ("jupytext", "papermill", "nbformat", "nbclient")  # of the extra "book", not of the module itself


def scenes_of(dataset: str, model, usual: dict, given: dict):
    """Scenes with the options `given` (not None), and those of the command's `usual` ones that the dataset has.

    Pictures from disk are brought to the model's size and patches unless told.
    """
    import inspect

    from fgq.data import find_dataset

    known = inspect.signature(find_dataset(dataset)).parameters
    if "patch_size" in known:
        usual = usual | {"size": model.config.img_size, "patch_size": model.config.patch_size}
    options = {name: value for name, value in usual.items() if name in known}
    options |= {name: value for name, value in given.items() if value is not None}
    return load_told(dataset, options)


def where(device: str | None, dtype: str) -> dict:
    """Device and dtype for `fgq.load_model`; raises FgqError for an unknown dtype or device."""
    import torch

    from fgq.checkpoint.load import check_device, find_dtype

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    check_device(device)
    return {"device": device, "dtype": find_dtype(dtype)}


@app.command()
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

    folder = execute(plan, out or Path("out") / plan.name, force, cell_seconds, report=typer.echo, only=only)
    typer.echo(f"notebooks, artefacts and provenance: {folder.root}")
    if build:
        from fgq.runs.book import build_book

        typer.echo("building the pages")
        typer.echo(f"the book is ready, open {build_book(plan, folder, plan.book.parent).as_uri()}")


@app.command()
def compare(first: Path, second: Path) -> None:
    """Paired differences of FIRST from SECOND on the same scenes: two reports (CSV) or two run folders."""
    from fgq.runs.compare import compare

    typer.echo(compare(first, second).to_string(index=False))


@app.command()
def fisher(
    model: str,
    out: Annotated[Path, typer.Option(help="file of the table (.safetensors)")],
    dataset: Dataset = "playroom",
    count: Count = None,
    frames: Frames = None,
    size: Size = None,
    seed: Seed = 0,
    root: Root = None,
    estimator: Annotated[
        str, typer.Option(help="sum_of_outputs (as published), hutchinson, likelihood or empirical")
    ] = "sum_of_outputs",
    probes: Annotated[int | None, typer.Option(help="draws a clip and task, where the estimator draws")] = None,
    device: Device = None,
    dtype: Precision = "float32",
    cache_dir: Annotated[Path | None, typer.Option(help="keeps each scene's numbers, to go on after a stop")] = None,
) -> None:
    """Estimate the Fisher table of a model (on 32 clips of 4 frames, unless told) and save it."""
    import fgq

    usual = {"split": "calibration", "count": 32, "frames": 4, "seed": seed}
    full = fgq.load_model(model, **where(device, dtype))
    scenes = scenes_of(dataset, full, usual, {"count": count, "frames": frames, "size": size, "root": root})
    fgq.estimate_fisher(full, scenes, estimator, probes, seed=seed, cache_dir=cache_dir).save(out)
    typer.echo(f"Fisher table of {len(scenes)} clips: {out}")


@app.command()
def quantize(
    model: str,
    out: Annotated[Path, typer.Option(help="folder of the quantized model")],
    recipe: Annotated[
        str, typer.Option(help="rtn, smoothquant, quarot, gptq, quantvggt, flatquant, fgq or fgq+")
    ] = "fgq",
    weight_bits: int = 4,
    activation_bits: int = 4,
    fisher: Annotated[Path | None, typer.Option(help="Fisher table; estimated on the clips where not given")] = None,
    bit_budget: Annotated[
        float | None, typer.Option(help="weight bits on average, dealt to the layers by the Fisher")
    ] = None,
    task_weights: Annotated[
        tuple[float, float, float], typer.Option(help="of camera, depth and points, in that order")
    ] = (1.0, 1.0, 1.0),
    epochs: int = 15,
    fields: RecipeFields = None,
    dataset: Dataset = "playroom",
    count: Count = None,
    frames: Frames = None,
    size: Size = None,
    seed: Seed = 0,
    root: Root = None,
    device: Device = None,
    dtype: Precision = "float32",
    token_budget: Annotated[
        int | None, typer.Option(help="bytes of memory for the clips' tokens; more goes to files", min=0)
    ] = None,
    cache_dir: Annotated[Path | None, typer.Option(help="folder of these files")] = None,
    workers: Annotated[int, typer.Option(help="processes that share the blocks and this machine's cores", min=1)] = 1,
) -> None:
    """Quantize a model, calibrating it (on 64 clips of 4 frames, unless told) if the recipe learns, and save it.

    Finished blocks are kept in OUT.unfinished until OUT is written: after a stop, the same command goes on from them.
    """
    import fgq
    from fgq.calibrate import find_recipe
    from fgq.fisher import FisherTable

    given = {"epochs": epochs, "bit_budget": bit_budget, "task_weights": task_weights}
    plan = find_recipe(recipe, weight_bits, activation_bits, given | read_fields(fields or []))
    place = where(device, dtype)
    full = fgq.load_model(model, dtype=place["dtype"])  # blocks go to the device one by one
    usual = {"split": "calibration", "count": 64, "frames": 4, "seed": seed}
    scenes = scenes_of(dataset, full, usual, {"count": count, "frames": frames, "size": size, "root": root})
    unfinished = out.with_name(f"{out.name}.unfinished")
    table = None
    if plan.weighting == "fisher" or plan.deals_bits:
        known = unfinished / "fisher"
        if fisher:
            table = FisherTable.load(fisher)
        else:
            estimator = plan.estimator or "sum_of_outputs"
            table = fgq.estimate_fisher(full, scenes, estimator, seed=seed, cache_dir=known)
    options = {"cache_dir": cache_dir, "device": place["device"], "resume_dir": unfinished}
    options |= {} if token_budget is None else {"token_budget": token_budget}
    with process_pool(workers) as executor:
        options["executor"] = executor
        fgq.quantize(full, scenes, recipe=plan, fisher=table, seed=seed, in_place=True, **options).save(out)
    shutil.rmtree(unfinished, ignore_errors=True)
    typer.echo(f"quantized model: {out}")


def process_pool(workers: int):
    """A pool of fresh processes with an equal share of this one's threads, or None in a context for one worker."""
    import contextlib
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    import torch

    if workers == 1:
        return contextlib.nullcontext()
    share = (max(1, torch.get_num_threads() // workers),)
    return ProcessPoolExecutor(workers, get_context("spawn"), initializer=torch.set_num_threads, initargs=share)


@app.command()
def evaluate(
    model: str,
    dataset: Dataset = "playroom",
    split: Annotated[str | None, typer.Option(help="split of the scenes; test where not given")] = None,
    count: Count = None,
    frames: Frames = None,
    size: Size = None,
    seed: Annotated[int | None, typer.Option(help="seed of the scenes; the published one where not given")] = None,
    root: Root = None,
    frame_list: Annotated[
        Path | None, typer.Option(help="frames of an earlier evaluation, instead of a choice")
    ] = None,
    only_read: Annotated[bool, typer.Option(help="a smaller set, where sequences cannot be read")] = False,
    reference: Annotated[str | None, typer.Option(help="full-precision model to measure the deviation from")] = None,
    out: Annotated[Path | None, typer.Option(help="file of the report (.csv); its frame list goes beside it")] = None,
) -> None:
    """Measure pose, depth and points of a model (on a dataset's published frames, or 128 rendered clips of 4)."""
    import fgq
    from fgq.data.frozen import freeze

    usual = {"split": "test", "count": 128, "frames": 4, "seed": 0} if dataset == "playroom" else {}
    choice = {"split": split, "count": count, "frames": frames, "seed": seed, "frame_list": frame_list}
    measured = fgq.load_model(model)
    scenes = scenes_of(dataset, measured, usual, choice | {"size": size, "root": root})
    scenes = scenes[:] if only_read else scenes
    full = fgq.load_model(reference) if reference else None
    report = fgq.evaluate(measured, scenes, reference=full)
    if out:
        report.save(out)
        freeze(scenes, out.with_suffix(".frames.json"))
    typer.echo(report.summary().to_string(index=False))


def main() -> None:
    """Entry point of the command `fgq`. Status 2 for bad input, 1 for a crash of a chapter or of the build."""
    try:
        app()
    except FgqError as error:
        stop(error, 2)
    except RunFailure as error:
        stop(error, 1)
    except ModuleNotFoundError as error:
        if error.name not in BOOK_PACKAGES:
            raise
        stop(f"{error.name} is not installed: pip install -e '.[book]' brings what runs and books need", 2)
    except KeyboardInterrupt:
        stop("stopped; chapters that had finished are kept", 130)


def stop(message: object, status: int) -> NoReturn:
    typer.echo(f"fgq: {' '.join(str(message).split())}", err=True)
    sys.exit(status)


if __name__ == "__main__":
    main()
