"""Any folder of images, or a video, as one scene, without ground truth."""

from pathlib import Path

from fgq.data.about import About
from fgq.data.loaded import LoadedScenes
from fgq.data.photos import find_sources, read_photos, spread
from fgq.data.sampling import FrameList, Rule
from fgq.data.scene import Scene
from fgq.data.sequence import shown
from fgq.data.video import RATE
from fgq.errors import FgqError


def load(
    root: str | Path | None = None,
    frames: int | None = None,
    size: int | tuple[int, int] = 518,
    patch_size: int = 14,
    mode: str = "crop",
    rate: float = RATE,
) -> LoadedScenes:
    """The images of folder `root` in the order of their names: one scene, images [S, 3, H, W] in [0, 1].

    `root` may also be one image or a video, of which `rate` frames a second are taken. `size`, `patch_size` and `mode`
    are those of `fgq.data.photos.read_photos`; `valid` is False where an image was padded with white. `frames` spreads
    that many over the folder instead of taking all. Hidden files are passed over. Raises FgqError for a missing or
    empty folder, too few images, and files that are no images (all named at once).
    """
    if root is None:
        raise FgqError('the dataset "folder" needs root=, the folder that holds the images')
    sources = find_sources([root], rate)
    if frames is not None:
        sources = spread(sources, frames)
    photos = read_photos(sources, size, patch_size, mode)
    covered = photos.covered()
    name = shown(Path(root).expanduser().resolve().name)
    scene = Scene(name=name, images=photos.images, valid=None if covered.all() else covered, dataset="folder")
    rule = "all frames" if frames is None else f"{frames} frames at even steps"
    return LoadedScenes([scene], FrameList("folder", "all", rule, 0, {name: tuple(map(shown, photos.names))}))


DATASET = About(
    name="folder",
    unit="normalised",
    needs="a folder of images, or a video; there is no ground truth",
    licence="the pictures' own",
    rules={"all": Rule("all")},
    published={},
)
