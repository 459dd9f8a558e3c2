"""Scenes: images of clips and whatever is known about them, from one module a dataset."""

import inspect
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from fgq.data.about import About
from fgq.data.disjoint import check_disjoint
from fgq.data.frozen import freeze, frozen_path, with_frozen_frames
from fgq.data.loaded import LoadedScenes
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

# More than any of these is a slip of the keyboard, which would run for days.
MOST = {"count": 100_000, "frames": 10_000}


def dataset_names() -> list[str]:
    """All datasets: the modules of this folder that define a function `load`."""
    return [found.name for found in iter_modules(__path__) if own_load(found.name)]


def about(name: str) -> About:
    """What a dataset needs, its licence and its splits. Raises FgqError as `find_dataset`."""
    find_dataset(name)
    return import_module(f"{__name__}.{name}").DATASET


def own_load(name: str) -> Callable[..., LoadedScenes] | None:
    module = import_module(f"{__name__}.{name}")
    load = getattr(module, "load", None)
    return load if getattr(load, "__module__", None) == module.__name__ else None


def find_dataset(name: str) -> Callable[..., LoadedScenes]:
    """A dataset's own `load`. Raises FgqError that lists the datasets when there is none of this name."""
    known = {found.name for found in iter_modules(__path__)}  # the others are imported only for the message
    load = own_load(name) if name in known else None
    if load is None:
        raise FgqError(f"no dataset is called {name!r}; choose one of {', '.join(dataset_names())}")
    return load


def load_scenes(
    name: str,
    split: str | None = None,
    count: int | None = None,
    frames: int | None = None,
    seed: int | None = None,
    root: str | Path | None = None,
    size: int | tuple[int, int] | None = None,
    **options,
) -> LoadedScenes:
    """`count` scenes of `frames` frames of a dataset; what is not given is the dataset's own default.

    `split` is such as "train", "calibration" or "test"; `root` is the folder of a dataset on disk; `size` is in
    pixels, one number or (height, width); further options belong to the dataset (see its module's `load`).
    The result is a list with `frame_list`, the frames that were asked for, and `failures`: sequences that could not be
    read do not stop the others; each is warned of (UnreadableSequences). Raises FgqError for an unknown dataset, an
    option that the dataset does not have, counts below 1 or above what `MOST` allows, and when nothing can be read.
    """
    load = find_dataset(name)
    for field, value in (("count", count), ("frames", frames)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise FgqError(f"{name}: {field} must be a whole number of at least 1, got {value!r}")
        if value is not None and value > MOST[field]:
            raise FgqError(f"{name}: {field} {value} is more than {MOST[field]}, the most at once: ask for fewer")
    named = {"split": split, "count": count, "frames": frames, "seed": seed, "root": root, "size": size}
    given = {field: value for field, value in named.items() if value is not None} | options
    known = inspect.signature(load).parameters
    unknown = [field for field in given if field not in known]
    if unknown:
        raise FgqError(f"{name} has no option {', '.join(unknown)}; it has {', '.join(known)}")
    kept = frozen_path(name, given)
    if kept is None:
        return load(**given)
    reused = "frame_list" in known and "frame_list" not in given and kept.is_file()
    scenes = load(**(with_frozen_frames(given, kept) if reused else given))
    freeze(scenes, kept)
    return scenes
