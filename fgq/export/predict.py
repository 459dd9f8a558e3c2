"""Images in, a folder of cameras, depth, points and a viewer out."""

from dataclasses import dataclass
from pathlib import Path

import torch

from fgq.data.photos import Photos, find_sources, read_photos, spread
from fgq.data.video import RATE
from fgq.errors import FgqError
from fgq.export.cameras import write_cameras
from fgq.export.colmap import write_colmap
from fgq.export.depth_maps import FORMATS, write_maps, write_npz
from fgq.export.pictures import SIZES, picture_names, write_model_images, write_photos
from fgq.export.ply import write_ply
from fgq.export.reconstruction import POINTS, Reconstruction, build_reconstruction
from fgq.export.viewer import write_viewer
from fgq.vggt import VGGT
from fgq.writing import check_new_folder, whole_folder

COLMAP_POINTS = 100_000  # text is slow to read, and what starts a splatting or a bundle adjustment needs no more
VIEWER_POINTS = 500_000  # some 7 MB of page


@dataclass(frozen=True)
class Output:
    """What `predict` writes. Raises FgqError for a value that is none of the choices."""

    points: str = "depth"  # "depth": unprojected depth, which agrees with the cameras; "head": the point head's map
    keep: float = 0.5  # share of the pixels, most confident first, in points.ply and COLMAP's points
    depth_format: str = "png"  # "png": 16 bits and a scale; "npz": float32
    image_size: str = "photo"  # images/ and COLMAP's cameras at the photos' own size, or as the "model" saw them

    def __post_init__(self):
        choices = {"points": POINTS, "depth_format": FORMATS, "image_size": SIZES}
        for field, known in choices.items():
            if getattr(self, field) not in known:
                raise FgqError(f"{field} {getattr(self, field)!r} is not one of {', '.join(known)}")
        if not 0 < self.keep <= 1:
            raise FgqError(f"keep {self.keep} is not a share above 0 and up to 1")


def predict(
    model: VGGT,
    images: str | Path | list[str | Path],
    out: str | Path,
    output: Output | None = None,
    *,
    frames: int | None = None,
    size: int | tuple[int, int] | None = None,
    mode: str = "crop",
    rate: float = RATE,
) -> Reconstruction:
    """Cameras, depth and points of photos, written into the new folder `out`; also returned.

    `images` is a folder, an image or a video (`rate` frames a second), or several of these; `frames` spreads that many
    over them. `size` is the model's own unless told, `mode` "crop" or "pad" (see `fgq.data.photos.read_photos`).
    Everything that can be wrong with the input is found before the model runs, and the folder appears whole or not at
    all. Raises FgqError.

    The folder holds cameras.json; images/ and sparse/0/{cameras,images,points3D}.txt, which together are a COLMAP
    project; depth/ and confidence/ (or depth.npz); points.ply; viewer.html.
    """
    output = output or Output()
    check_new_folder(out)
    places = images if isinstance(images, list | tuple) else [images]
    sources = find_sources(list(places), rate)
    if frames is not None:
        sources = spread(sources, frames)
    names = picture_names([source.name for source in sources], output.image_size)
    config = model.config
    photos = read_photos(sources, config.img_size if size is None else size, config.patch_size, mode)
    scene = reconstruct(model, photos, output.points)
    with whole_folder(out, "what is predicted") as folder:
        write(scene, names, folder, output)
    return scene


def reconstruct(model: VGGT, photos: Photos, points: str = "depth") -> Reconstruction:
    """One forward pass over all pictures, on the model's device."""
    with torch.inference_mode():
        predictions = model(photos.images.to(model.device))
    return build_reconstruction(predictions, photos, points)


def write(scene: Reconstruction, names: list[str], folder: Path, output: Output) -> None:
    """All files of a reconstruction into an empty folder; `names` are those of the files in images/."""
    cloud = scene.cloud()
    confident = cloud.best(output.keep)
    few = confident.thinned(COLMAP_POINTS)
    if output.image_size == "photo":
        write_photos(scene, names, folder / "images")
        sizes, intrinsics = list(scene.photos.sizes), scene.photo_intrinsics()
        pixels = few.pixel.double()
        for s, crop in enumerate(scene.photos.crops):
            pixels[few.frame == s] = crop.to_file(pixels[few.frame == s])
    else:
        write_model_images(scene, names, folder / "images")
        sizes, intrinsics = [crop.window for crop in scene.photos.crops], scene.intrinsics
        pixels = few.pixel.double()
    write_colmap(names, sizes, scene.extrinsics, intrinsics, few, pixels, folder / "sparse" / "0")
    files = [{"image": f"images/{name}"} for name in names]
    if output.depth_format == "png":
        maps = write_maps(scene, map_names(names), folder)
        files = [{**file, **entry} for file, entry in zip(files, maps, strict=True)]
    else:
        write_npz(scene, names, folder / "depth.npz")
    write_cameras(scene, files, folder / "cameras.json", points_from=scene.points_from, points_kept=output.keep)
    write_ply(confident, folder / "points.ply")
    write_viewer(scene, cloud.thinned(VIEWER_POINTS), folder / "viewer.html", share=output.keep)


def map_names(names: list[str]) -> list[str]:
    """Names of the maps without the image's suffix, unless two would then be the same."""
    stems = [Path(name).stem for name in names]
    return stems if len(set(stems)) == len(stems) else names
