"""The model card: what vggt-tiny is, what its training cost, how accurate it came out."""

from pathlib import Path

import pandas as pd

from fgq.training.settings import TrainingSettings
from fgq.vggt import VGGT
from fgq.writing import write_json, write_text

CARD = """---
license: apache-2.0
library_name: fgq
pipeline_tag: depth-estimation
---
# vggt-tiny

A Visual Geometry Grounded Transformer with every part of VGGT-1B and {parameters:,} parameters: DINOv2-style encoder
with registers ({encoder_depth} blocks), {depth} frame and {depth} global blocks of {embed_dim} channels, camera head,
depth head and point head. Made for teaching quantization on a CPU; it knows the rendered rooms of `fgq.data.playroom`
and nothing else. Lengths are metres of those rooms.

| | |
|---|---|
| Images | {img_size} × {img_size} pixels, patches of {patch_size} |
| Trained on | {pairs:,} pairs, then {clips:,} clips of {frames} frames, each rendered once |
| Time | {minutes:.0f} minutes on {machine} |
| Optimiser | Muon ({matrix_rate:g}; backbone matrices), AdamW ({other_rate:g}; the rest), bf16 autocast, averaged |
| Made by | `python -m fgq.training` with seed {seed} |
| Stored as | float16 |

## Accuracy

Full precision, {scenes} scenes of {frames} frames of the split `test`, none of which was seen in training. Mean over
scenes with its 95 % interval, measured with the float16 weights as shipped.

{accuracy}

Medians over all frame pairs: rotation {rotation_median:.2f}°, translation direction {translation_median:.2f}°.

## Training curve

`curve.csv` holds the loss and the accuracy on {validation_scenes} validation scenes by step.

{curve}
"""


def write_card(
    folder: Path, model: VGGT, settings: TrainingSettings, curve: pd.DataFrame, accuracy: dict, machine: str
) -> None:
    """README.md and curve.csv beside the weights in `folder`.

    `accuracy` is what `validate.accuracy_for_card` returns; `machine` is in words.
    """
    config = model.config
    shown = curve.iloc[:: max(1, len(curve) // 12)]
    if shown.index[-1] != curve.index[-1]:
        shown = pd.concat([shown, curve.tail(1)])
    columns = ["step", "frames", "seconds", "rotation_median_deg", "translation_median_deg", "auc30", "abs_rel"]
    text = CARD.format(
        **vars(config) | vars(settings) | accuracy,
        parameters=model.num_parameters(),
        pairs=settings.pair_steps * settings.batch,
        clips=(settings.steps - settings.pair_steps) * settings.batch,
        minutes=curve.seconds.iloc[-1] / 60,
        machine=machine,
        accuracy=as_markdown(accuracy["table"]),
        curve=as_markdown(shown[[*columns, "point_error"]]),
    )
    write_text(folder / "README.md", text)
    write_text(folder / "curve.csv", curve.round(5).to_csv(index=False))
    write_json(folder / "training.json", vars(settings))


def as_markdown(frame: pd.DataFrame) -> str:
    def row(values) -> str:
        return "| " + " | ".join(value if isinstance(value, str) else f"{value:.4g}" for value in values) + " |"

    return "\n".join([row(frame.columns), row(["---"] * frame.shape[1]), *map(row, frame.itertuples(index=False))])
