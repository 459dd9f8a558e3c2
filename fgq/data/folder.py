"""Any folder of images, or a video, as one scene or as many clips, without ground truth."""

import contextlib
import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from fgq.data.loaded import LoadedScenes
from fgq.data.photos import Source, find_sources, is_picture, read_photos, spread
from fgq.data.reading import existing, list_names
from fgq.data.sampling import CALIBRATION, TEST, About, FrameList, Rule, check_whole
from fgq.data.scene import HASH_DIGITS, Scene
from fgq.data.sequence import shown
from fgq.data.video import RATE
from fgq.errors import FgqError

DEFAULT_FRAMES = 4  # of a clip
BEGINNING = 2**16  # bytes of a file by which it is known


def load(
    root: str | Path | None = None,
    frames: int | None = None,
    count: int | None = None,
    size: int | tuple[int, int] = 518,
    patch_size: int = 14,
    mode: str = "crop",
    rate: float = RATE,
    split: str = "all",
    seed: int = 0,
) -> LoadedScenes:
    """The images of folder `root` in the order of their names: one scene, images [S, 3, H, W] in [0, 1].

    `root` may also be one image or a video, of which `rate` frames a second are taken, or a folder of such folders,
    each of which is a scene. `frames` spreads that many over each instead of taking all. With a `count` the pictures
    are cut into clips instead, as a calibration wants them: at most so many, each of `frames` (4 unless told)
    neighbours, at even steps through all pictures, all of one size, and none from two folders; a `seed` moves their
    beginnings on by as many pictures. The splits "calibration" and "test" are the first and the last half of the
    folders, or of the pictures where there is one folder or video.
    `size`, `patch_size` and `mode` are those of `fgq.data.photos.read_photos`; `valid` is False where an image was
    padded with white. Hidden files are passed over, and files that are no pictures by their names are left out with a
    warning. Raises FgqError for a missing or empty folder, too few images, and pictures that cannot be read (all named
    at once).
    """
    DATASET.check_split(split)
    if root is None:
        raise FgqError('the dataset "folder" needs root=, the folder that holds the images')
    check_whole(seed, "folder: seed", 0)
    sequences = half(find_sequences(Path(root).expanduser(), rate), split)
    how = {"size": size, "patch_size": patch_size, "mode": mode}
    if count is None:
        clips = [s if frames is None else replace(s, sources=spread(s.sources, frames)) for s in sequences]
        rule = str(Rule("all") if frames is None else Rule("even", frames))
        scenes = [scene for clip in clips for scene in read_clips([clip], split, how)]
    else:
        length = DEFAULT_FRAMES if frames is None else frames
        clips = cut_clips(sequences, count, length, root, seed)
        rule = f"clips of {length} neighbouring frames"
        scenes = read_clips(clips, split, how)
    names = {clip.name: tuple(source.name for source in clip.sources) for clip in clips}
    return LoadedScenes(scenes, FrameList("folder", split, rule, seed, names))


@dataclass(frozen=True)
class Pictures:
    """Those of a folder, image or video, of a half or of a clip of it. `sequence` is as in `Scene`."""

    name: str
    sequence: str
    sources: list[Source]


def find_sequences(root: Path, rate: float) -> list[Pictures]:
    """The pictures of a folder, or of each folder in it where it holds none itself."""
    inside = [root / name for name in list_names(root)] if root.is_dir() else []
    folders = [] if any(is_picture(path.name) for path in inside) else [path for path in inside if path.is_dir()]
    found = []
    for place in folders or [root]:
        sources = find_sources([place], rate)
        found.append(Pictures(shown(place.resolve().name), beginnings_hash(sources), sources))
    return found


def beginnings_hash(sources: list[Source]) -> str:
    """Of how the files begin: what tells a folder of pictures from another one, wherever it is moved."""
    digest = hashlib.sha256()
    for path in dict.fromkeys(source.path for source in sources):
        with contextlib.suppress(OSError, FgqError), existing(path).open("rb") as file:  # reading the picture tells
            digest.update(hashlib.sha256(file.read(BEGINNING)).digest())
    return digest.hexdigest()[:HASH_DIGITS]


def half(sequences: list[Pictures], split: str) -> list[Pictures]:
    """Those of a split: some of several sequences, or of the pictures of a single one. Raises FgqError for one picture.

    No picture is in both halves.
    """
    if split not in (CALIBRATION, TEST):
        return sequences
    whole = sequences if len(sequences) > 1 else sequences[0].sources
    if len(whole) < 2:
        raise FgqError(f"{sequences[0].name}: a single picture cannot be split into calibration and test")
    middle = len(whole) // 2
    part = whole[:middle] if split == CALIBRATION else whole[middle:]
    if len(sequences) > 1:
        return part
    (only,) = sequences
    return [Pictures(f"{only.name}-{split}", f"{only.sequence}/{split}", part)]


def cut_clips(sequences: list[Pictures], count: int, frames: int, root: str | Path, seed: int = 0) -> list[Pictures]:
    """At most `count` clips of neighbours, named by the sequence and the position of their first picture."""
    starts = [(s, start) for s in sequences for start in range(max(0, len(s.sources) - frames + 1))]
    if not starts:
        most = max(len(s.sources) for s in sequences)
        raise FgqError(f"{shown(root)}: {frames} frames a clip asked for, but no folder has more than {most} pictures")
    number = min(count, len(starts))
    taken = [starts[(i * len(starts) // number + seed) % len(starts)] for i in range(number)]
    return [Pictures(f"{s.name}-{start:04d}", s.sequence, s.sources[start : start + frames]) for s, start in taken]


def read_clips(clips: list[Pictures], split: str, how: dict) -> list[Scene]:
    """Scenes of equal size; a picture in several clips is read once."""
    places = {source: None for clip in clips for source in clip.sources}
    photos = read_photos(list(places), **how)
    places = {source: row for row, source in enumerate(photos.sources)}
    covered, scenes = photos.covered(), []
    for clip in clips:
        rows = [places[source] for source in clip.sources]
        valid = None if covered[rows].all() else covered[rows]
        about = {"name": clip.name, "dataset": "folder", "split": split, "sequence": clip.sequence}
        scenes.append(Scene(images=photos.images[rows], valid=valid, **about))
    return scenes


DATASET = About(
    name="folder",
    unit="normalised",
    needs="a folder of images, or a video; there is no ground truth",
    licence="the pictures' own",
    rules={"all": Rule("all"), CALIBRATION: Rule("all"), TEST: Rule("all")},
    published={},
    calibration="the first half of the folders, or of the pictures of a single one; test is the other half",
    choices={"frames": "even"},
)
