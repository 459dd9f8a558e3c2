"""Scenes: images of clips and whatever is known about them, from one module a dataset."""

import inspect
from importlib import import_module
from pathlib import Path

from fgq.data.scene import Scene, SceneError
from fgq.errors import FgqError

__all__ = ["HOME_OF_DATASET", "Scene", "SceneError", "load_scenes"]

HOME_OF_DATASET = {
    "playroom": "fgq.data.playroom",
    "folder": "fgq.data.folder",
}


def load_scenes(
    name: str,
    split: str | None = None,
    count: int | None = None,
    frames: int | None = None,
    seed: int | None = None,
    root: str | Path | None = None,
    size: int | tuple[int, int] | None = None,
    **options,
) -> list[Scene]:
    """`count` scenes of `frames` frames of a dataset; what is not given is the dataset's own default.

    `split` is such as "train", "calibration" or "test"; `root` is the folder of a dataset on disk; `size` is in
    pixels, one number or (height, width); further options belong to the dataset (see its module's `load`).
    Raises FgqError for an unknown dataset, an option that the dataset does not have, and counts below 1.
    """
    if name not in HOME_OF_DATASET:
        raise FgqError(f"no dataset is called {name!r}; choose one of {', '.join(HOME_OF_DATASET)}")
    for field, value in (("count", count), ("frames", frames)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise FgqError(f"{name}: {field} must be a whole number of at least 1, got {value!r}")
    named = {"split": split, "count": count, "frames": frames, "seed": seed, "root": root, "size": size}
    given = {field: value for field, value in named.items() if value is not None} | options
    load = import_module(HOME_OF_DATASET[name]).load
    known = inspect.signature(load).parameters
    unknown = [field for field in given if field not in known]
    if unknown:
        raise FgqError(f"{name} has no option {', '.join(unknown)}; it has {', '.join(known)}")
    return load(**given)
