"""The card of a quantized model: what its folder and its reports say, as a page that the hub shows."""

import json

import pandas as pd
from huggingface_hub import ModelCardData

from fgq.calibrate import find_recipe
from fgq.calibrate.log import Quantization
from fgq.checkpoint.delta import Base
from fgq.checkpoint.hub import HubOptions, is_hub_id
from fgq.errors import FgqError
from fgq.evaluation.report import Report
from fgq.memory.info import Info
from fgq.memory.stored import KINDS, LAYERS

NON_COMMERCIAL = "cc-by-nc-4.0"
LICENCES = {"vggt-tiny": "apache-2.0", "facebook/VGGT-1B": NON_COMMERCIAL}
TASK = "image-to-3d"  # of the hub's list
LONGEST_FIELD = 80  # characters of a recipe's field; what is dealt to every layer is longer

CARD = """---
{header}
---
# {title}

{base} with the linear layers of its blocks quantized by fgq.

| | |
|---|---|
{facts}

## Size

Megabytes by what they are for.

{sizes}

## Use

```python
import fgq

model = fgq.load_model("{name}"{base_argument})
predictions = model(images)  # [frames, 3, height, width] in [0, 1]: cameras, depth, points and their confidence
```

The model multiplies floating-point values that lie on the grid of its codes; `fgq.quant.with_integers(model, tokens)`
multiplies the codes themselves where that is faster.

## Accuracy

{accuracy}

## Licence

{licence}
"""


def model_card(name: str, report: Report | None = None, hub: HubOptions | None = None) -> str:
    """Markdown with the hub's header for a quantized model that `model.save`, `fgq quantize` or `fgq pack` wrote.

    Says what the folder states: what it was made of, the recipe with all that differs from its usual fields, seed,
    scenes and Fisher table of the calibration, sizes by kind. `report`, of `fgq.evaluate`, adds the accuracy with
    intervals and what it was measured on; without one the card says that none was given. Raises FgqError for a model
    that is not quantized or states no recipe, and for a report of another recipe.
    """
    about = Info.open(name, hub=hub)
    model = about.outline()
    calibration: Quantization | None = getattr(model, "quantization", None)
    if calibration is None:
        raise FgqError(f"{name}: states no recipe; a card is for what fgq quantize made")
    recipe, base = calibration.recipe, str(model.name_or_path)
    is_public = base in LICENCES or is_hub_id(base, ())
    base = base if is_public else last_part(base)  # a path is nobody else's business
    header = ModelCardData(
        library_name="fgq",
        pipeline_tag=TASK,
        license=LICENCES.get(base, "other"),
        base_model=base if "/" in base else None,
        base_model_relation="quantized" if "/" in base else None,
        tags=["vggt", "quantized", str(recipe.bits).lower()],
    )
    return CARD.format(
        header=header.to_yaml(),
        title=f"{last_part(base)}, {recipe.label}, {recipe.bits}",
        base=f"[{base}](https://huggingface.co/{base})" if "/" in base else base,
        facts="\n".join(f"| {key} | {value} |" for key, value in facts(calibration).items()),
        sizes=sizes(about.stored()),
        name=last_part(name),
        base_argument="" if Base.read(about.files) is None else f', base="{base}"',
        accuracy=accuracy(report, calibration),
        licence=terms(base),
    )


def last_part(name: str) -> str:
    return name.rstrip("/").rsplit("/", 1)[-1]


def facts(calibration: Quantization) -> dict[str, str]:
    recipe, seen = calibration.recipe, calibration.seen
    usual, own = find_recipe(recipe.name).to_dict(), recipe.to_dict()
    changed = {field: json.dumps(value) for field, value in own.items() if usual[field] != value}
    told = [f"`{field}` {value if len(value) <= LONGEST_FIELD else 'by layer'}" for field, value in changed.items()]
    counted = f"{len(seen.scenes)} scenes, {seen.splits or 'of no stated split'}"
    counted = counted if seen.scenes and recipe.needs_scenes else "no scenes"
    found = {"Recipe": f"`{recipe.name}`", "Bits": str(recipe.bits), "Fields": ", ".join(told) or "the recipe's own"}
    found |= {"Calibrated on": counted, "Seed": str(calibration.seed)}
    if calibration.fisher is not None:
        estimator, checksum = (calibration.fisher.get(key) for key in ("estimator", "checksum"))
        found["Fisher"] = f"estimator `{estimator}`, checksum `{checksum}`"
    lost = [log.name for log in calibration.blocks if log.warning]
    if lost:
        found["Blocks with a warning"] = ", ".join(lost)
    return found


def sizes(table: pd.DataFrame) -> str:
    rows = [
        f"| {part} | " + " | ".join(f"{table.loc[part, kind] / 1e6:.2f}" for kind in KINDS)
        + f" | {table.loc[part, 'of float32']:.3f} |"
        for part in (LAYERS, "all")
    ]  # fmt: skip
    return "\n".join(["| | " + " | ".join(KINDS) + " | of float32 |", "|---" * (len(KINDS) + 2) + "|", *rows])


def accuracy(report: Report | None, calibration: Quantization) -> str:
    if report is None:
        return "No report was given: `fgq evaluate` makes one, `fgq card --report` shows it here."
    wanted = calibration.recipe.label
    others = sorted(set(report.frame.recipe) - {wanted})
    if others:
        told = ", ".join(map(repr, others))
        raise FgqError(f"the report has results of {told}, the model is of {wanted!r}: give its own")
    sets = ", ".join(sorted(set(report.frame.dataset)))
    return f"Means with 95 % intervals on scenes of {sets}, none of them seen in calibration.\n\n{report.to_markdown()}"


def terms(base: str) -> str:
    licence = LICENCES.get(base)
    if licence == NON_COMMERCIAL:
        return f"What is made of {base} is under its licence, CC BY-NC 4.0: not for commercial use."
    if licence == "apache-2.0":
        return "Apache-2.0, as the model that it was made of."
    return f"That of {base}, which its owners state: read it before you pass these weights on."
