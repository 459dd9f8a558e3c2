"""Commands about what models cost: `fgq info`, `fgq bench` and `fgq random-weights`."""

from pathlib import Path
from typing import Annotated

import typer

from fgq.commands.options import MOST_FRAMES, Device, Seed
from fgq.writing import check_file, check_new_folder

# Of bits and bit-operations in a table.
AVERAGES = {"macs": "{:.4g}".format, "bit-operations": "{:.4g}".format}
AVERAGES |= dict.fromkeys(("weight bits", "activation bits", "a mac"), "{:.3f}".format)
STORED = dict.fromkeys(("codes", "scales", "transforms", "rest", "sum"), lambda size: f"{size / 1e6:.3f}")
STORED |= dict.fromkeys(("of float32", "of bfloat16"), "{:.4f}".format)
MOST_FORESEEN = 256  # frames; foreseeing takes a tenth of a second for each


def info(
    model: str,
    frames: Annotated[
        int | None, typer.Option(help="frames of the clip whose cost is wanted", min=1, max=MOST_FORESEEN)
    ] = None,
    size: Annotated[str | None, typer.Option(help="of its images in pixels, such as 518x392 (width first)")] = None,
    measure: Annotated[bool, typer.Option("--measure", help="load the model and run it on such a clip, too")] = False,
    dtype: Annotated[str | None, typer.Option(help="float32 (usual), bfloat16 or float16")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, …")] = "cpu",
    revision: Annotated[str | None, typer.Option(help="branch, tag or commit of a model on the hub")] = None,
    cache_dir: Annotated[Path | None, typer.Option(help="of the hub's files; its own where not given")] = None,
    local_files_only: Annotated[bool, typer.Option("--local-files-only", help="ask no network")] = False,
) -> None:
    """A model's parts, the bytes of each recipe, a quantized model's bytes by kind, average bits and bit-operations.

    With --frames or --size also memory and time of a forward pass, and how many such frames fit into what is free.
    """
    import pandas as pd
    import torch

    from fgq.checkpoint.hub import HubOptions
    from fgq.memory.info import Info, Input, measured_row
    from fgq.memory.recipes import recipe_sizes

    hub = {"revision": revision, "cache_dir": cache_dir, "local_files_only": local_files_only}
    about = Info.open(model, dtype, HubOptions(**hub))
    config = about.outline().config
    clip = Input.parse(frames or 1, size or str(config.img_size)) if frames or size or measure else None
    typer.echo(
        f"{model}: {about.files.num_bytes / 1e6:.2f} MB on the disk{about.form()}\n\n{about.parts().to_string()}"
    )
    if about.files.quantization:
        typer.echo(f"\nMB by what they are for:\n{about.stored().to_string(formatters=STORED)}")
    told = about.dtype or about.outline().dtype
    typer.echo(f"\nMB of weights by recipe, what is not quantized in {str(told).removeprefix('torch.')}:")
    typer.echo(recipe_sizes(config, told).to_string())
    if about.files.quantization:
        shown = clip or Input.parse(1, str(config.img_size))
        typer.echo(f"\nBits in the blocks' linear layers, {about.bits_text()}, for {shown}:")
        typer.echo(about.average_bits(shown).to_string(formatters=AVERAGES))
    if clip is None:
        return
    costs = {"predicted": about.predict(clip, device)}
    if measure:
        from fgq.memory.measure import measure as run_alone

        found = run_alone(model, clip.frames, clip.height, clip.width, about.dtype, device, **hub)
        costs["measured"] = measured_row(found)
    typer.echo(f"\n{clip} on {device}:")
    typer.echo(pd.DataFrame(costs).T.to_string(na_rep=""))
    gpu = device if device.startswith("cuda") else "cuda"
    for place in ("cpu", gpu) if torch.cuda.is_available() else ("cpu",):
        found = about.limit(clip, place)
        typer.echo(
            f"At most {found.frames} frames of {clip.width} × {clip.height} pixels fit into the "
            f"{found.free_bytes / 1e9:.1f} GB that are free on {place}: {found.weight_bytes / 1e9:.2f} GB of weights, "
            f"{found.frame_bytes / 1e6:.1f} MB for each of many frames"
        )


def bench(
    models: Annotated[
        list[str], typer.Argument(help="models as other commands take them, full precision or quantized")
    ],
    frames: Annotated[list[int] | None, typer.Option(help="of a clip; repeatable", min=1, max=MOST_FRAMES)] = None,
    size: Annotated[
        str | None, typer.Option(help="of its images, such as 518x392; the model's where not given")
    ] = None,
    form: Annotated[
        list[str] | None,
        typer.Option(help="full precision, fake, packed or integer; repeatable; all that a model has where not given"),
    ] = None,
    dtype: Annotated[
        list[str] | None, typer.Option(help="float32, bfloat16 or float16, repeatable; the model's own where not given")
    ] = None,
    repeats: Annotated[int, typer.Option(help="passes of each that are timed", min=1)] = 5,
    device: Device = "cpu",
    csv: Annotated[Path | None, typer.Option(help="file for the table")] = None,
    figure: Annotated[Path | None, typer.Option(help="file for a figure (.svg, .png, .pdf)")] = None,
) -> None:
    """Speed and memory of models side by side: as they are, in fake quantization, packed, with products of integers.

    Passes take turns; times are medians with the fastest and the slowest, ratios are to the first row.
    """
    from fgq.memory.bench import FORMS
    from fgq.memory.bench import bench as race
    from fgq.memory.info import Input

    csv, figure = (path and check_file(path) for path in (csv, figure))
    clip = Input.parse(1, size) if size else None
    table = race(
        models,
        frames or [1],
        clip and clip.height,
        clip and clip.width,
        forms=form or FORMS,
        dtypes=dtype or [None],
        device=device or "auto",
        repeats=repeats,
    )
    typer.echo(table.drop(columns=["height", "width"]).to_string(index=False, float_format="{:.4g}".format))
    if csv:
        table.to_csv(csv, index=False)
    if figure:
        from fgq.plots import show_bench

        show_bench(table).savefig(figure, bbox_inches="tight")


def random_weights(
    out: Annotated[Path, typer.Argument(help="new folder for model.safetensors")],
    shapes: Annotated[Path | None, typer.Option(help="JSON file of tensor names and shapes; VGGT-1B's usually")] = None,
    seed: Seed = 0,
) -> None:
    """Write a checkpoint of VGGT-1B's sizes with random values: to measure a machine with, before a download."""
    from fgq.memory.random_weights import public_shapes, read_shapes, write_random_weights
    from fgq.vggt import VGGTConfig

    out = check_new_folder(out)
    wanted = read_shapes(shapes) if shapes else public_shapes(VGGTConfig())
    path = write_random_weights(out, wanted, seed)
    typer.echo(f"{len(wanted)} tensors, {path.stat().st_size / 1e9:.2f} GB: {path}")
