"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Dataset = Annotated[str, typer.Option(help="dataset of the scenes, such as playroom or folder")]
Count = Annotated[int | None, typer.Option(help="number of scenes")]
Frames = Annotated[int | None, typer.Option(help="frames of a scene")]
Size = Annotated[int | None, typer.Option(help="of the images, in pixels")]
Root = Annotated[Path | None, typer.Option(help="folder of a dataset on disk")]
Seed = Annotated[int, typer.Option(help="seed of the scenes and of whatever is random")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, …; a GPU where there is one")]
Precision = Annotated[str, typer.Option(help="of the model: float32 or bfloat16")]
Group = Annotated[int | None, typer.Option(help="channels that share a scale; a whole row or token where not given")]
Rounding = Annotated[str, typer.Option(help="full_precision, as published, or nearest")]
Clips = Annotated[int | None, typer.Option(help="so many of the scenes calibrate; quantvggt picks half")]
