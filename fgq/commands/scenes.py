"""The scenes that commands work on."""

import inspect
import warnings

import typer


def scenes_of(dataset: str, model, usual: dict, given: dict):
    """Scenes with the options `given` (not None), and those of the command's `usual` ones that the dataset has.

    Pictures from disk are brought to the model's size and patches, or to the width of a `protocol`, unless told. Each
    sequence that cannot be read becomes a line on the error stream.
    """
    import fgq
    from fgq.data import find_dataset
    from fgq.data.loaded import UnreadableSequences

    known = inspect.signature(find_dataset(dataset)).parameters
    if "patch_size" in known:
        size = {} if given.get("protocol") else {"size": model.config.img_size}
        usual = usual | size | {"patch_size": model.config.patch_size}
    options = {name: value for name, value in usual.items() if name in known}
    options |= {name: value for name, value in given.items() if value is not None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnreadableSequences)
        scenes = fgq.load_scenes(dataset, **options)
    for failure in scenes.failures:
        typer.echo(f"fgq: not read: {failure.sequence}: {failure.reason}", err=True)
    return scenes
