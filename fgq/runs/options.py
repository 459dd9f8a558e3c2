"""Options that several commands share."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from fgq.errors import FgqError

Dataset = Annotated[str, typer.Option(help="dataset of the scenes, such as playroom or folder")]
Count = Annotated[int | None, typer.Option(help="number of scenes")]
Frames = Annotated[int | None, typer.Option(help="frames of a scene")]
Size = Annotated[int | None, typer.Option(help="of the images, in pixels")]
Root = Annotated[Path | None, typer.Option(help="folder of a dataset on disk")]
Seed = Annotated[int, typer.Option(help="seed of the scenes and of whatever is random")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, …; a GPU where there is one")]
Precision = Annotated[str, typer.Option(help="of the model: float32 or bfloat16")]
RecipeFields = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="another field of the recipe, such as num_scenes=32; repeatable"),
]


def read_fields(told: list[str]) -> dict[str, Any]:
    """weight_group=128, weight_symmetric=false, num_scenes=null, encoder=nearest: values as in JSON, or else text.

    Raises FgqError for one without a value; the recipe checks names and types.
    """
    found = {}
    for text in told:
        name, sign, value = text.partition("=")
        if not sign:
            raise FgqError(f"--set {text}: write FIELD=VALUE, such as weight_group=128")
        try:
            found[name] = json.loads(value)
        except json.JSONDecodeError:
            found[name] = value
    return found
