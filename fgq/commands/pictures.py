"""Commands from pictures to a reconstruction: `fgq render` and `fgq predict`."""

from pathlib import Path
from typing import Annotated

import typer

from fgq.commands.options import LONGEST_SIDE, MOST_FRAMES, Device, Seed, where
from fgq.writing import check_new_folder


def render(
    out: Annotated[Path, typer.Argument(help="new folder for the PNG files")],
    frames: Annotated[int, typer.Option(help="pictures of the room", min=1, max=MOST_FRAMES)] = 4,
    size: Annotated[int, typer.Option(help="side in pixels", min=1, max=LONGEST_SIDE)] = 64,
    split: Annotated[str, typer.Option(help="rooms that the training saw (train) or not (test)")] = "test",
    seed: Seed = 0,
) -> None:
    """Render pictures of a playroom into a folder: something to try `fgq predict` on."""
    import fgq
    from fgq.export.pictures import write_scene

    out = check_new_folder(out)
    (scene,) = fgq.load_scenes("playroom", split=split, count=1, frames=frames, seed=seed, size=size)
    typer.echo(f"{len(write_scene(scene, out))} pictures: {out}")


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
    frames: Annotated[
        int | None,
        typer.Option(help="that many pictures, spread over all; all where not given", min=1, max=MOST_FRAMES),
    ] = None,
    rate: Annotated[float, typer.Option(help="frames a second of a video")] = 1.0,
    size: Annotated[
        int | None, typer.Option(help="pixels for the model; its own size where not given", min=1, max=LONGEST_SIDE)
    ] = None,
    mode: Annotated[str, typer.Option(help="crop (cut high pictures to a square) or pad (white)")] = "crop",
    device: Device = None,
) -> None:
    """Cameras, depth, coloured points and a viewer from photos, in one folder."""
    import fgq
    from fgq.export import Output, predict

    wanted, out = Output(points, keep, depth_format, image_size), check_new_folder(out)
    network = fgq.load_model(model, **where(device, None))
    scene = predict(network, images, out, wanted, frames=frames, size=size, mode=mode, rate=rate)
    height, width = scene.depth.shape[-2:]
    typer.echo(f"{scene.num_frames} cameras and depth maps of {width} × {height} pixels: {out}")
    typer.echo(f"look at them in a browser: {(out / 'viewer.html').resolve().as_uri()}")
