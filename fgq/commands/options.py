"""Options that several commands share, and what is given of a recipe."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from fgq.errors import FgqError

MOST_SCENES, MOST_FRAMES, LONGEST_SIDE = 1_000_000, 10_000, 16_384  # more is a slip of the finger
LARGEST_SEED = 2**63 - 1

Dataset = Annotated[str, typer.Option(help="dataset of the scenes, such as playroom or folder")]
Count = Annotated[int | None, typer.Option(help="number of scenes", min=1, max=MOST_SCENES)]
Frames = Annotated[int | None, typer.Option(help="frames of a scene", min=1, max=MOST_FRAMES)]
Size = Annotated[int | None, typer.Option(help="of the images, in pixels", min=1, max=LONGEST_SIDE)]
Root = Annotated[Path | None, typer.Option(help="folder of a dataset on disk")]
Seed = Annotated[int, typer.Option(help="seed of the scenes and of whatever is random", min=0, max=LARGEST_SEED)]
ScenesSeed = Annotated[
    int | None, typer.Option(help="seed of the scenes; the published one where not given", min=0, max=LARGEST_SEED)
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, …; where not given, a GPU where there is one")]
Precision = Annotated[str, typer.Option(help="of the model: float32 or bfloat16")]
RecipeFields = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="another field of the recipe, such as num_scenes=32; repeatable"),
]


def where(device: str | None, dtype: str | None) -> dict:
    """Device and dtype for `fgq.load_model`; raises FgqError for an unknown dtype or device."""
    from fgq.checkpoint.load import find_device, find_dtype

    return {"device": find_device(device or "auto"), "dtype": find_dtype(dtype)}


def read_fields(told: list[str]) -> dict[str, Any]:
    """weight_group=128, weight_symmetric=false, num_scenes=null, encoder=nearest: values as in JSON, or else text.

    Raises FgqError for one without a value and for a field that is set twice; the recipe checks names and types.
    """
    found = {}
    for text in told:
        name, sign, value = text.partition("=")
        if not sign:
            raise FgqError(f"--set {text}: write FIELD=VALUE, such as weight_group=128")
        if name in found:
            raise FgqError(f"--set {name}= is given twice: leave one away")
        try:
            found[name] = json.loads(value)
        except (ValueError, RecursionError):
            found[name] = value
    return found


def given_fields(named: dict[str, Any], told: list[str]) -> dict[str, Any]:
    """Fields of a recipe from options of their own (None where not given) and from --set.

    Raises FgqError for one that is given both ways.
    """
    named = {name: value for name, value in named.items() if value is not None}
    fields = read_fields(told)
    for name in named.keys() & fields.keys():
        raise FgqError(f"{option(name)} and --set {name}= are the same field of the recipe: leave one away")
    return named | fields


def check_used(recipe, given: dict[str, Any]) -> None:
    """Raises FgqError for an option of `given` that a recipe makes nothing of: whoever gave it expects otherwise."""
    weighted = recipe.weighting == "fisher" or recipe.deals_bits
    for name, used in (("fisher", weighted), ("task_weights", weighted), ("epochs", recipe.learns)):
        if given.get(name) is not None and not used:
            why = "learns nothing" if name == "epochs" else "uses no Fisher"
            raise FgqError(f"{option(name)}: the recipe {recipe.name} {why}: leave it away, or choose another recipe")


def option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
