"""The command line: the same verbs as in Python, one line and exit status 2 for bad input."""

import shutil
import sys
from contextlib import nullcontext
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer

from fgq.commands.compare import compare
from fgq.commands.costs import bench, info, random_weights
from fgq.commands.datasets import datasets
from fgq.commands.door import run_command
from fgq.commands.options import (
    MOST_SCENES,
    Count,
    Dataset,
    Device,
    Frames,
    Precision,
    RecipeFields,
    Root,
    ScenesSeed,
    Seed,
    Size,
    check_used,
    given_fields,
    where,
)
from fgq.commands.packing import apply_delta, card, pack
from fgq.commands.pictures import predict, render
from fgq.commands.runs import run
from fgq.commands.scenes import scenes_of
from fgq.commands.sweeps import sweep
from fgq.commands.unfinished import unfinished_beside
from fgq.errors import FgqError
from fgq.processes import MOST_WORKERS, process_pool
from fgq.writing import check_file

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]}
)
app.add_typer(datasets, name="datasets")
for verb in (info, bench, pack, apply_delta, card, random_weights, render, predict, run, sweep, compare):
    app.command()(verb)


def show_version(wanted: bool) -> None:
    if wanted:
        import fgq

        typer.echo(f"fgq {fgq.__version__}")
        raise typer.Exit()


@app.callback()
def about(
    version: Annotated[
        bool, typer.Option("--version", help="show the version and exit", callback=show_version, is_eager=True)
    ] = False,
) -> None:
    """Fisher-guided quantization of the Visual Geometry Grounded Transformer (VGGT)."""


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
    probes: Annotated[
        int | None, typer.Option(help="draws a clip and task, where the estimator draws", min=1, max=MOST_SCENES)
    ] = None,
    device: Device = None,
    dtype: Precision = "float32",
    cache_dir: Annotated[Path | None, typer.Option(help="keeps each scene's numbers, to go on after a stop")] = None,
) -> None:
    """Estimate the Fisher table of a model (on 32 clips of 4 frames, unless told) and save it."""
    import fgq

    out = check_file(out)
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
        str, typer.Option(help="such as rtn, gptq, flatquant, fgq or fgq+; a wrong name lists all")
    ] = "fgq",
    weight_bits: Annotated[int | None, typer.Option(help="2 to 8, or 16; the recipe's own where not given")] = None,
    activation_bits: Annotated[int | None, typer.Option(help="the same, of activations")] = None,
    fisher: Annotated[Path | None, typer.Option(help="Fisher table; estimated on the clips where not given")] = None,
    bit_budget: Annotated[
        float | None, typer.Option(help="weight bits on average, dealt to the layers by the Fisher")
    ] = None,
    task_weights: Annotated[
        tuple[float, float, float] | None, typer.Option(help="of camera, depth and points, in that order")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="passes over the clips; the recipe's own where not given")] = None,
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
    token_dir: Annotated[Path | None, typer.Option(help="folder of these files")] = None,
    workers: Annotated[int, typer.Option(help="processes that share blocks and cores", min=1, max=MOST_WORKERS)] = 1,
    packed: Annotated[
        bool, typer.Option("--packed/--unpacked", help="codes at their own width, or a byte each")
    ] = True,
) -> None:
    """Quantize a model, calibrating it (on 64 clips of 4 frames, unless told) if the recipe learns, and save it.

    Finished blocks are kept in OUT.unfinished until OUT is written: after a stop, the same command goes on from them.
    """
    import fgq
    from fgq.calibrate import find_recipe
    from fgq.fisher import FisherTable

    named = {"weight_bits": weight_bits, "activation_bits": activation_bits, "epochs": epochs}
    named |= {"bit_budget": bit_budget, "task_weights": task_weights}
    given = given_fields(named, fields or [])
    plan = find_recipe(recipe, overrides=given)
    check_used(plan, given | {"fisher": fisher})
    table = FisherTable.load(fisher) if fisher else None
    place = where(device, dtype)
    with unfinished_beside(out) as (out, unfinished):
        full = fgq.load_model(model, dtype=place["dtype"])  # blocks go to the device one by one
        usual = {"split": "calibration", "count": 64, "frames": 4, "seed": seed}
        scenes = scenes_of(dataset, full, usual, {"count": count, "frames": frames, "size": size, "root": root})
        if table is None and (plan.weighting == "fisher" or plan.deals_bits):
            estimator = plan.estimator or "sum_of_outputs"
            table = fgq.estimate_fisher(full, scenes, estimator, seed=seed, cache_dir=unfinished / "fisher")
        options = {"token_dir": token_dir, "device": place["device"], "resume_dir": unfinished / "blocks"}
        options |= {} if token_budget is None else {"token_budget": token_budget}
        with process_pool(workers) if workers > 1 else nullcontext() as executor:
            options["executor"] = executor
            small = fgq.quantize(full, scenes, recipe=plan, fisher=table, seed=seed, in_place=True, **options)
        small.save(out, packed)
        shutil.rmtree(unfinished)
    typer.echo(f"quantized model: {out}")


@app.command()
def evaluate(
    model: str,
    dataset: Annotated[str | None, typer.Option(help="dataset of the scenes; playroom where not given")] = None,
    protocol: Annotated[
        str | None, typer.Option(help="a published evaluation, such as fgq-co3d: fgq datasets protocols lists all")
    ] = None,
    split: Annotated[str | None, typer.Option(help="split of the scenes; test where not given")] = None,
    count: Count = None,
    frames: Frames = None,
    size: Size = None,
    seed: ScenesSeed = None,
    root: Root = None,
    frame_list: Annotated[
        Path | None, typer.Option(help="frames of an earlier evaluation, instead of a choice")
    ] = None,
    only_read: Annotated[bool, typer.Option(help="a smaller set, where sequences cannot be read")] = False,
    reference: Annotated[str | None, typer.Option(help="full-precision model to measure the deviation from")] = None,
    clouds: Annotated[
        str | None,
        typer.Option(help="points looked up in a cloud: full, or fast (1,000), unless a protocol says"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="file of the report (.csv); its frame list goes beside it")] = None,
    device: Device = None,
    dtype: Annotated[str | None, typer.Option(help="of the model; where not given float32, or as it was saved")] = None,
) -> None:
    """Measure pose, depth and points of a model (on a dataset's published frames, or 128 rendered clips of 4).

    With --protocol also beside the numbers of the paper, where it has such.
    """
    import fgq
    from fgq.commands.published import beside
    from fgq.data.frozen import freeze
    from fgq.data.protocols import find_protocol
    from fgq.metrics.points import FAST_CLOUDS, FULL_CLOUDS

    looked_up = {None: None, "fast": FAST_CLOUDS, "full": FULL_CLOUDS}
    if clouds not in looked_up:
        raise FgqError(f"--clouds {clouds}: choose fast or full")
    if protocol is not None and dataset is None:
        dataset = find_protocol(protocol).dataset
    dataset = dataset or "playroom"
    if out:
        out = check_file(out)
    place = where(device, dtype)
    usual = {"split": "test", "count": 128, "frames": 4, "seed": 0} if dataset == "playroom" else {}
    choice = {"split": split, "count": count, "frames": frames, "seed": seed, "frame_list": frame_list}
    choice |= {"protocol": protocol}
    measured = fgq.load_model(model, **place)
    full = fgq.load_model(reference, place["device"]) if reference else None
    if getattr(full, "quantization", None) is not None:
        raise FgqError(f"--reference {reference}: is quantized itself: give the full-precision model")
    scenes = scenes_of(dataset, measured, usual, choice | {"size": size, "root": root})
    scenes = scenes[:] if only_read else scenes
    report = fgq.evaluate(measured, scenes, reference=full, clouds=looked_up[clouds])
    if out:
        report.save(out)
        freeze(scenes, out.with_suffix(".frames.json"))
    typer.echo(report.summary().to_string(index=False))
    if protocol is not None:
        typer.echo(beside(report))


def main() -> None:
    """Entry point of the command `fgq`; see `run_command` for its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # paths may hold what no text holds
    sys.exit(run_command(app))
