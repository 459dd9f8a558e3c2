"""Scenes: images of clips and whatever is known about them, from one module a dataset."""

import inspect
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from fgq.data.disjoint import check_disjoint
from fgq.data.frozen import freeze, frozen_path, with_frozen_frames
from fgq.data.loaded import LoadedScenes
from fgq.data.protocols import find_protocol
from fgq.data.sampling import About, check_whole
from fgq.data.scene import Scene, SceneError
from fgq.errors import FgqError

__all__ = [
    "LoadedScenes",
    "Scene",
    "SceneError",
    "about",
    "check_disjoint",
    "dataset_names",
    "find_dataset",
    "load_scenes",
]

PUBLIC = ("co3d", "dtu", "eth3d", "kitti", "realestate10k", "seven_scenes")
MODULES = {  # each with its `load` and its description DATASET
    "playroom": "fgq.data.playroom",  # rendered
    "folder": "fgq.data.folder",  # anyone's pictures
    **{name: f"fgq.data.public.{name}" for name in PUBLIC},  # downloads
}
# More than any of these is a slip of the keyboard, which would run for days.
MOST = {"count": 100_000, "frames": 10_000}
# Options of which a result tells otherwise: its frame list says which frames, the model which patches.
UNLISTED = ("every", "frame_list", "patch_size")


def dataset_names() -> list[str]:
    return sorted(MODULES)


def dataset_module(name: str):
    if name not in MODULES:
        raise FgqError(f"no dataset is called {name!r}; choose one of {', '.join(dataset_names())}")
    return import_module(MODULES[name])


def about(name: str) -> About:
    """What a dataset needs, its licence and its splits. Raises FgqError as `find_dataset`."""
    return dataset_module(name).DATASET


def find_dataset(name: str) -> Callable[..., LoadedScenes]:
    """A dataset's own `load`. Raises FgqError that lists the datasets when there is none of this name."""
    return dataset_module(name).load


def load_scenes(
    name: str | None = None,
    split: str | None = None,
    count: int | None = None,
    frames: int | None = None,
    seed: int | None = None,
    root: str | Path | None = None,
    size: int | tuple[int, int] | None = None,
    protocol: str | None = None,
    **options,
) -> LoadedScenes:
    """`count` scenes of `frames` frames of a dataset; what is not given is the dataset's own default.

    `split` is such as "train", "calibration" or "test"; `root` is the folder of a dataset on disk; `size` is in
    pixels, one number or (height, width); further options belong to the dataset (see its module). `protocol` names a
    published evaluation (`fgq.data.protocols`), such as "fgq-co3d", in the place of a dataset: what is not given is as
    it says, and what is given is told by `departures` of the result.
    The result is a list with `frame_list`, the frames that were asked for, and `failures`: sequences that could not be
    read do not stop the others; each is warned of (UnreadableSequences). Raises FgqError for an unknown dataset or
    protocol, a protocol of another dataset, an option that the dataset does not have, counts below 1 or above what
    `MOST` allows, and when nothing can be read.
    """
    followed = None if protocol is None else find_protocol(protocol)
    if followed is not None and name not in (None, followed.dataset):
        raise FgqError(f"the protocol {protocol} is of {followed.dataset}, not of {name}: leave one of them away")
    if name is None and followed is None:
        raise FgqError(f"no dataset and no protocol: name a dataset, one of {', '.join(dataset_names())}")
    name = name if followed is None else followed.dataset
    load = find_dataset(name)
    for field, value in (("count", count), ("frames", frames)):
        if value is not None:
            check_whole(value, f"{name}: {field}", 1)
            if value > MOST[field]:
                raise FgqError(f"{name}: {field} {value} is more than {MOST[field]}, the most at once: ask for fewer")
    named = {"split": split, "count": count, "frames": frames, "seed": seed, "root": root, "size": size}
    given = {field: value for field, value in named.items() if value is not None} | options
    if followed is not None:
        given = followed.request(given)
    known = inspect.signature(load).parameters
    unknown = [field for field in given if field not in known]
    if unknown:
        raise FgqError(f"{name} has no option {', '.join(unknown)}; it has {', '.join(known)}")
    kept = frozen_path(name, given)
    reused = kept is not None and kept.is_file() and "frame_list" in known and "frame_list" not in given
    scenes = load(**(with_frozen_frames(given, kept) if reused else given))
    if kept is not None:
        freeze(scenes, kept)
    if followed is not None:
        scenes.follow(followed, {field: value for field, value in options.items() if field not in UNLISTED})
    return scenes
