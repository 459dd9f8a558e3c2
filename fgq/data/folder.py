"""Any folder of images, or a video, as one scene or as many clips, without ground truth."""

from pathlib import Path

from fgq.data.about import About
from fgq.data.loaded import LoadedScenes
from fgq.data.photos import Source, find_sources, read_photos, spread
from fgq.data.sampling import FrameList, Rule
from fgq.data.scene import Scene
from fgq.data.sequence import shown
from fgq.data.video import RATE
from fgq.errors import FgqError

DEFAULT_FRAMES = 4  # of a clip


def load(
    root: str | Path | None = None,
    frames: int | None = None,
    count: int | None = None,
    size: int | tuple[int, int] = 518,
    patch_size: int = 14,
    mode: str = "crop",
    rate: float = RATE,
) -> LoadedScenes:
    """The images of folder `root` in the order of their names: one scene, images [S, 3, H, W] in [0, 1].

    `root` may also be one image or a video, of which `rate` frames a second are taken, or a folder of such folders,
    each of which is a scene. `frames` spreads that many over each instead of taking all. With a `count` the pictures
    are cut into clips instead, as a calibration wants them: at most so many, each of `frames` (4 unless told)
    neighbours, at even steps through all pictures, all of one size, and none from two folders.
    `size`, `patch_size` and `mode` are those of `fgq.data.photos.read_photos`; `valid` is False where an image was
    padded with white. Hidden files are passed over. Raises FgqError for a missing or empty folder, too few images, and
    files that are no images (all named at once).
    """
    if root is None:
        raise FgqError('the dataset "folder" needs root=, the folder that holds the images')
    sequences = find_sequences(Path(root).expanduser(), rate)
    how = {"size": size, "patch_size": patch_size, "mode": mode}
    if count is None:
        chosen = {name: sources if frames is None else spread(sources, frames) for name, sources in sequences.items()}
        rule = "all frames" if frames is None else f"{frames} frames at even steps"
        scenes = [scene for name, sources in chosen.items() for scene in read_clips({name: sources}, how)]
    else:
        length = DEFAULT_FRAMES if frames is None else frames
        chosen = cut_clips(sequences, count, length, root)
        rule = f"clips of {length} neighbouring frames"
        scenes = read_clips(chosen, how)
    names = {name: tuple(shown(source.name) for source in sources) for name, sources in chosen.items()}
    return LoadedScenes(scenes, FrameList("folder", "all", rule, 0, names))


def find_sequences(root: Path, rate: float) -> dict[str, list[Source]]:
    """The pictures of a folder, or of each folder in it where it holds nothing else, by the folder's name."""
    inside = sorted(path for path in root.iterdir() if not path.name.startswith(".")) if root.is_dir() else []
    places = inside if inside and all(path.is_dir() for path in inside) else [root]
    return {shown(place.resolve().name): find_sources([place], rate) for place in places}


def cut_clips(sequences: dict[str, list[Source]], count: int, frames: int, root: str | Path) -> dict[str, list[Source]]:
    """At most `count` clips of neighbours, by the sequence and the position of their first picture."""
    starts = [
        (name, start) for name, sources in sequences.items() for start in range(max(0, len(sources) - frames + 1))
    ]
    if not starts:
        most = max(map(len, sequences.values()))
        raise FgqError(f"{root}: {frames} frames a clip asked for, but no folder has more than {most} pictures")
    number = min(count, len(starts))
    taken = [starts[i * len(starts) // number] for i in range(number)]
    return {f"{name}-{start:04d}": sequences[name][start : start + frames] for name, start in taken}


def read_clips(clips: dict[str, list[Source]], how: dict) -> list[Scene]:
    """Scenes of equal size; a picture in several clips is read once."""
    places = {source: None for sources in clips.values() for source in sources}
    photos = read_photos(list(places), **how)
    places = {source: row for row, source in enumerate(photos.sources)}
    covered, scenes = photos.covered(), []
    for name, sources in clips.items():
        rows = [places[source] for source in sources]
        valid = None if covered[rows].all() else covered[rows]
        scenes.append(Scene(name=name, images=photos.images[rows], valid=valid, dataset="folder"))
    return scenes


DATASET = About(
    name="folder",
    unit="normalised",
    needs="a folder of images, or a video; there is no ground truth",
    licence="the pictures' own",
    rules={"all": Rule("all")},
    published={},
)
