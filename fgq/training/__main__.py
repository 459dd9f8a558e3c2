"""python -m fgq.training: trains vggt-tiny."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer

from fgq.checkpoint import load_model
from fgq.errors import FgqError
from fgq.training.card import write_card
from fgq.training.settings import TrainingSettings
from fgq.training.train import train
from fgq.training.validate import accuracy_for_card

DEFAULTS = TrainingSettings()


def command(
    folder: Annotated[Path, typer.Option(help="where checkpoint, curve and weights go")] = Path("out/training"),
    seed: int = DEFAULTS.seed,
    pair_steps: int = DEFAULTS.pair_steps,
    steps: Annotated[int, typer.Option(help="updates in all; may be changed on resume")] = DEFAULTS.steps,
    decay_share: Annotated[
        float, typer.Option(help="last share of the steps with falling rates")
    ] = DEFAULTS.decay_share,
    batch: int = DEFAULTS.batch,
    threads: Annotated[int | None, typer.Option(help="CPU threads; all where not given")] = None,
) -> None:
    """Trains vggt-tiny, or goes on where FOLDER's checkpoint stands."""
    settings = dataclasses.replace(
        DEFAULTS, seed=seed, pair_steps=pair_steps, steps=steps, decay_share=decay_share, batch=batch
    )
    model = train(folder, settings, threads)
    shipped = folder / "vggt-tiny"
    model.half().save_pretrained(shipped)
    # Measured as people will load it: rounded to float16 and read back.
    accuracy = accuracy_for_card(load_model(shipped), settings.frames)
    write_card(
        shipped, model, settings, pd.read_csv(folder / "curve.csv"), accuracy, f"{torch.get_num_threads()} CPU cores"
    )


if __name__ == "__main__":
    try:
        typer.run(command)
    except FgqError as error:
        typer.echo(f"fgq: {error}", err=True)
        sys.exit(2)
