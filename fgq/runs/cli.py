"""The command line: the same verbs as in Python, one line and exit status 2 for bad input."""

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from fgq.errors import FgqError
from fgq.runs.datasets import datasets, load_told
from fgq.runs.failure import RunFailure

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(datasets, name="datasets")

BOOK_PACKAGES = ("jupytext", "papermill", "nbformat", "nbclient")  # of the extra "book", not of the module itself

Dataset = Annotated[str, typer.Option(help="dataset of the scenes, such as playroom or folder")]
Count = Annotated[int | None, typer.Option(help="number of scenes")]
Frames = Annotated[int | None, typer.Option(help="frames of a scene")]
Size = Annotated[int | None, typer.Option(help="of the images, in pixels")]
Root = Annotated[Path | None, typer.Option(help="folder of a dataset on disk")]
Seed = Annotated[int, typer.Option(help="seed of the scenes and of whatever is random")]


def scenes_of(dataset: str, model, usual: dict, given: dict):
    """Scenes with the options `given` (not None), and those of the command's `usual` ones that the dataset has.

    Pictures from disk are brought to the model's size and patches unless told.
    """
    import inspect

    from fgq.data import about, find_dataset

    known = inspect.signature(find_dataset(dataset)).parameters
    if "patch_size" in known:
        usual = usual | {"size": model.config.img_size, "patch_size": model.config.patch_size}
    options = {name: value for name, value in usual.items() if name in known}
    if options.get("split") not in about(dataset).rules:  # a dataset without this split has one of its own
        options.pop("split", None)
    options |= {name: value for name, value in given.items() if value is not None}
    return load_told(dataset, options)


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
def info(
    model: str,
    frames: Annotated[int | None, typer.Option(help="frames of the clip whose cost is wanted")] = None,
    size: Annotated[str | None, typer.Option(help="of its images in pixels, such as 518x392 (width first)")] = None,
    measure: Annotated[bool, typer.Option("--measure", help="load the model and run it on such a clip, too")] = False,
    dtype: Annotated[str | None, typer.Option(help="float32 (usual), bfloat16 or float16")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, …")] = "cpu",
    revision: Annotated[str | None, typer.Option(help="branch, tag or commit of a model on the hub")] = None,
    cache_dir: Annotated[Path | None, typer.Option(help="of the hub's files; its own where not given")] = None,
    local_files_only: Annotated[bool, typer.Option("--local-files-only", help="ask no network")] = False,
) -> None:
    """A model's parts, the bytes of each recipe, and, with --frames or --size, memory and time of a forward pass."""
    import pandas as pd

    from fgq.checkpoint.hub import HubOptions
    from fgq.memory.info import Info, Input, measured_row
    from fgq.memory.recipes import recipe_sizes

    hub = {"revision": revision, "cache_dir": cache_dir, "local_files_only": local_files_only}
    about = Info.open(model, dtype, HubOptions(**hub))
    config = about.outline().config
    clip = Input.parse(frames or 1, size or str(config.img_size)) if frames or size or measure else None
    typer.echo(f"{model}: {about.files.num_bytes / 1e6:.2f} MB on the disk\n\n{about.parts().to_string()}")
    told = about.dtype or about.outline().dtype
    typer.echo(f"\nMB of weights by recipe, what is not quantized in {str(told).removeprefix('torch.')}:")
    typer.echo(recipe_sizes(config, told).to_string())
    if clip is None:
        return
    costs = {"predicted": about.predict(clip, device)}
    if measure:
        from fgq.memory.measure import measure as run_alone

        found = run_alone(model, clip.frames, clip.height, clip.width, about.dtype, device, **hub)
        costs["measured"] = measured_row(found)
    typer.echo(f"\n{clip.frames} frames of {clip.width} × {clip.height} pixels on {device}:")
    typer.echo(pd.DataFrame(costs).T.to_string(na_rep=""))


@app.command()
def random_weights(
    out: Annotated[Path, typer.Argument(help="folder for model.safetensors")],
    shapes: Annotated[Path | None, typer.Option(help="JSON file of tensor names and shapes; VGGT-1B's usually")] = None,
    seed: Seed = 0,
) -> None:
    """Write a checkpoint of VGGT-1B's sizes with random values: to measure a machine with, before a download."""
    from fgq.memory.random_weights import public_shapes, read_shapes, write_random_weights
    from fgq.vggt import VGGTConfig

    wanted = read_shapes(shapes) if shapes else public_shapes(VGGTConfig())
    path = write_random_weights(out, wanted, seed)
    typer.echo(f"{len(wanted)} tensors, {path.stat().st_size / 1e9:.2f} GB: {path}")


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
    estimator: Annotated[str, typer.Option(help="see fgq.fisher.ESTIMATORS")] = "sum_of_outputs",
) -> None:
    """Estimate the Fisher table of a model (on 32 clips of 4 frames, unless told) and save it."""
    import fgq

    usual = {"split": "calibration", "count": 32, "frames": 4, "seed": seed}
    full = fgq.load_model(model)
    scenes = scenes_of(dataset, full, usual, {"count": count, "frames": frames, "size": size, "root": root})
    fgq.estimate_fisher(full, scenes, estimator=estimator, seed=seed).save(out)
    typer.echo(f"Fisher table of {len(scenes)} clips: {out}")


@app.command()
def quantize(
    model: str,
    out: Annotated[Path, typer.Option(help="folder of the quantized model")],
    recipe: Annotated[str, typer.Option(help="rtn, smoothquant, quarot, gptq, flatquant or fgq")] = "fgq",
    weight_bits: int = 4,
    activation_bits: int = 4,
    fisher: Annotated[Path | None, typer.Option(help="Fisher table; estimated on the clips where not given")] = None,
    epochs: int = 15,
    dataset: Dataset = "playroom",
    count: Count = None,
    frames: Frames = None,
    size: Size = None,
    seed: Seed = 0,
    root: Root = None,
) -> None:
    """Quantize a model, calibrating it (on 64 clips of 4 frames, unless told) if the recipe learns, and save it."""
    import fgq
    from fgq.calibrate import find_recipe
    from fgq.fisher import FisherTable

    plan = find_recipe(recipe, weight_bits, activation_bits, {"epochs": epochs})
    full = fgq.load_model(model)
    usual = {"split": "calibration", "count": 64, "frames": 4, "seed": seed}
    scenes = scenes_of(dataset, full, usual, {"count": count, "frames": frames, "size": size, "root": root})
    table = None
    if plan.weighting == "fisher":
        table = FisherTable.load(fisher) if fisher else fgq.estimate_fisher(full, scenes, seed=seed)
    fgq.quantize(full, scenes, recipe=plan, fisher=table, seed=seed).save(out)
    typer.echo(f"quantized model: {out}")


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


@app.command()
def render(
    out: Annotated[Path, typer.Argument(help="new folder for the PNG files")],
    frames: Annotated[int, typer.Option(help="pictures of the room", min=1)] = 4,
    size: Annotated[int, typer.Option(help="side in pixels", min=1)] = 64,
    split: Annotated[str, typer.Option(help="rooms that the training saw (train) or not (test)")] = "test",
    seed: Seed = 0,
) -> None:
    """Render pictures of a playroom into a folder: something to try `fgq predict` on."""
    import fgq
    from fgq.export.pictures import write_scene

    (scene,) = fgq.load_scenes("playroom", split=split, count=1, frames=frames, seed=seed, size=size)
    typer.echo(f"{len(write_scene(scene, out))} pictures: {out}")


@app.command()
def predict(
    images: Annotated[list[Path], typer.Argument(help="a folder of photos, photos, or a video")],
    out: Annotated[Path, typer.Option(help="new folder for what is predicted")],
    model: Annotated[str, typer.Option(help="vggt-tiny (rendered rooms only), a hub id, a folder or a file")] = (
        "facebook/VGGT-1B"
    ),
    points: Annotated[str, typer.Option(help="depth (unprojected; agrees with the cameras) or head")] = "depth",
    keep: Annotated[float, typer.Option(help="share of the pixels in points.ply, most confident first")] = 0.5,
    depth_format: Annotated[str, typer.Option(help="png (16 bits and a scale) or npz")] = "png",
    image_size: Annotated[str, typer.Option(help="cameras for each photo at its own size, or as the model saw it")] = (
        "photo"
    ),
    frames: Annotated[int | None, typer.Option(help="that many pictures, spread over all; all where not given")] = None,
    rate: Annotated[float, typer.Option(help="frames a second of a video")] = 1.0,
    size: Annotated[int | None, typer.Option(help="pixels for the model; its own size where not given")] = None,
    mode: Annotated[str, typer.Option(help="crop (cut high pictures to a square) or pad (white)")] = "crop",
    device: Annotated[str | None, typer.Option(help="cpu, cuda, …; a GPU where there is one")] = None,
) -> None:
    """Cameras, depth, coloured points and a viewer from photos, in one folder."""
    import torch

    import fgq
    from fgq.export import Output, predict

    wanted = Output(points, keep, depth_format, image_size)
    network = fgq.load_model(model, device=device or ("cuda" if torch.cuda.is_available() else "cpu"))
    scene = predict(network, images, out, wanted, frames=frames, size=size, mode=mode, rate=rate)
    height, width = scene.depth.shape[-2:]
    typer.echo(f"{scene.num_frames} cameras and depth maps of {width} × {height} pixels: {out}")
    typer.echo(f"look at them in a browser: {(out / 'viewer.html').resolve().as_uri()}")


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
