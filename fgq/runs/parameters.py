"""The parameters of all chapters: one meaning, type, range and unit for each name, wherever it stands."""

import ast
import types
from difflib import get_close_matches
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model

from fgq.data.protocols import PROTOCOLS
from fgq.errors import FgqError
from fgq.quant.bits import Bits
from fgq.runs.plain_yaml import shown

INJECTED = "# Parameters"  # the first line of the cell that papermill puts behind the chapter's own
MOST = 100_000  # of scenes, clips and the like; more is a slip of the keyboard


def checked_setting(text: str) -> str:
    if text != "auto":
        Bits(text)
    return text


Count = Annotated[int, Field(ge=1, le=MOST)]
Number = Annotated[int, Field(ge=0, le=2**31 - 1)]
Side = Annotated[int, Field(ge=1, le=16_384)]
Setting = Annotated[str, AfterValidator(checked_setting)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Seeds = Annotated[list[Number], Field(min_length=1)]
Settings = Annotated[list[Setting], Field(min_length=1)]


def of(told: str, unit: str | None = None) -> Any:
    return Field(description=told, json_schema_extra={"unit": unit} if unit else None)


class Parameters(BaseModel):
    """Every name that a chapter may have for a parameter; a chapter has some of them, with defaults of its own."""

    model_config = ConfigDict(strict=True, extra="forbid")

    # Of the setting cell, which all chapters share.
    model_name: Name = of("the model: vggt-tiny, facebook/VGGT-1B or the like, a folder or a file of weights")
    device: Name = of("cpu, cuda or cuda:1; auto is a GPU where there is one")
    dtype: Literal["float32", "bfloat16", "float16"] = of("of the model's numbers")
    dataset: Name = of(
        "where scenes come from: playroom is rendered, folder is anyone's photos; fgq datasets lists all"
    )
    root: Name | None = of("folder of a dataset on disk; playroom has none")
    size: Annotated[int, Field(ge=1, le=16_384)] | None = of(
        "of the images; the dataset's own where not given", "pixels"
    )
    frames: Annotated[int, Field(ge=1, le=10_000)] | None = of("of a scene; the dataset's own choice where not given")
    calibration_split: Name = of("scenes that a model is calibrated on")
    test_split: Name = of("scenes that a model is measured on; none of them may be in the calibration")
    seed: Number = of("decides scenes, rotations, probes: whatever is drawn")
    # Of some chapters.
    protocol: Literal[*PROTOCOLS] | None = of(
        "a published evaluation, whose sequences, frames and size the test scenes then have"
    )
    setting: Setting = of(
        "bits of weights and activations, such as W4A8; auto takes what the chapter on quantization chose"
    )
    settings: Settings = of("several of them")
    learned_settings: Settings = of("those of them at which recipes that learn run too")
    sweep: Settings = of("bit settings of the sweep")
    bits: Annotated[int, Field(ge=2, le=8)] = of("of weights", "bits")
    rounded_bits: Annotated[int, Field(ge=2, le=8)] = of("of weights and activations", "bits")
    stress_bits: Annotated[int, Field(ge=2, le=8)] = of("of weights and activations in the stress test", "bits")
    seeds: Seeds = of("each a draw of calibration scenes and of whatever is random")
    perturbed_seeds: Seeds = of("of the perturbations")
    calibration_clips: Count = of("scenes of a calibration")
    clips: Count = of("scenes of a calibration")
    few_clips: Count = of("scenes where few must do")
    fisher_clips: Count = of("scenes behind a Fisher table")
    compared_clips: Count = of("scenes on which estimators are compared")
    held_out_clips: Count = of("scenes of the calibration split that no calibration has seen")
    stress_clips: Count = of("scenes that calibrate the stress test")
    ablation_clips: Count = of("scenes of the short calibrations")
    test_scenes: Count = of("scenes that a model is measured on")
    stress_scenes: Count = of("scenes that the stress test measures on")
    epochs: Annotated[int, Field(ge=0, le=10_000)] = of("passes over the calibration scenes")
    ablation_epochs: Annotated[int, Field(ge=0, le=10_000)] = of("passes of the short calibrations")
    ablation_blocks: Annotated[list[Name], Field(min_length=1)] = of("names of the blocks that are calibrated in short")
    probes: Count = of("random signs a scene and task")
    repeats: Count = of("draws of an estimator whose spread is shown")
    perturbations: Count = of("random changes of the weights whose damage is measured")
    exact_model: Name = of("the model whose whole Jacobian is computed")
    exact_pixels: Annotated[int, Field(ge=1, le=518)] = of("side of the images there", "pixels")
    outlier_ratio: Positive = of("of the magnitude of an outlying channel to the others")
    outlier_channels: Count = of("channels that are made to stick out")
    dampings: Annotated[list[Positive], Field(min_length=1)] = of("added to a matrix, in units of its mean diagonal")
    recipes: Annotated[list[Name], Field(min_length=1)] = of("names of recipes")
    table: Name = of("name of the table that is written")
    learners: Annotated[list[Name], Field(min_length=1)] = of("ways to learn transforms and clips")
    roundings: Annotated[list[Name], Field(min_length=1)] = of("ways to round weights")
    ways: dict[str, dict[str, Any]] = of("by name, a recipe and the fields of it that change")
    reference: Name = of("the one that all others are compared with")
    within: Positive = of("the relative change that would be worth caring about")
    chosen: list[Name] = of("those that are run; all where empty")
    workers: Annotated[int, Field(ge=1, le=1024)] = of("processes, each with one thread")
    sizes: dict[str, Any] = of("of models, by name: fields of a VGGTConfig")
    pixels: Annotated[int, Field(ge=14, le=2_000)] = of("side of the images", "pixels")
    frame_counts: Annotated[list[Count], Field(min_length=1)] = of("numbers of frames whose cost is measured")
    wide: list[Annotated[int, Field(ge=14, le=2_000)]] = of("height and width of the wide images", "pixels")
    wide_frames: Annotated[list[Count], Field(min_length=1)] = of("numbers of such frames")
    calibration_steps: Count = of("of a block whose cost is measured")
    dtypes: Annotated[list[Name], Field(min_length=1)] = of("of the models' numbers")


FIELDS = Parameters.model_fields


def check_values(names: Any, values: dict, where: str) -> None:
    """Raises FgqError, which says `where`, for a name that is none of `names` or a value that it cannot have."""
    check_names(names, values, where)
    known = {name: (FIELDS[name].annotation, FIELDS[name]) for name in values if name in FIELDS}
    model = create_model("Given", __config__=Parameters.model_config, **known)
    try:
        model(**{name: values[name] for name in known})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"] if isinstance(part, int | str))
        raise FgqError(f"{where}: parameter {place!r} is {shown(first['input'])}: {told(first)}") from error


def check_names(names: Any, values: dict, where: str) -> None:
    for name in values:
        if name not in names:
            near = get_close_matches(str(name), names, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; it has {', '.join(names) or 'none'}"
            raise FgqError(f"{where} has no parameter {shown(name)}{hint}")


def check_notebook(variables: dict[str, Any] | None = None) -> None:
    """Inside a chapter, after its parameters: checks their names and values, as `fgq run` does before it starts one.

    papermill sets any name that it is given, and a chapter that has no such parameter would never look at it. Raises
    FgqError for what papermill has set and the cell of parameters has not, and for a value that a parameter cannot
    have. `variables` are the notebook's own (this kernel's, where none are given), with its cells in `In`.
    """
    if variables is None:
        from IPython import get_ipython

        variables = get_ipython().user_ns
    cells = [cell for cell in variables["In"] if cell.strip()]
    set_by_papermill = [index for index, cell in enumerate(cells) if cell.startswith(INJECTED)]
    names = [name for name in FIELDS if name in variables]
    if set_by_papermill:
        index = set_by_papermill[-1]
        own, given = (assigned(cell) for cell in (cells[index - 1], cells[index]))
        check_values(own, {name: variables[name] for name in given}, "this notebook")
        names = [name for name in own if name in FIELDS]
    check_values(names, {name: variables[name] for name in names}, "this notebook")


def assigned(source: str) -> list[str]:
    """The names that a cell of plain assignments assigns."""
    statements = (statement for statement in ast.parse(source).body if isinstance(statement, ast.Assign))
    return [statement.targets[0].id for statement in statements]


def told(error: dict) -> str:
    """What is wrong, and what the parameter is."""
    name = error["loc"][0]
    message = error["msg"].removeprefix("Value error, ")
    return f"{message[:1].lower()}{message[1:]} ({name}: {FIELDS[name].description})"


def describe(name: str, value: Any = None) -> tuple[str, str, str]:
    """What a parameter may be, its unit, and what it is for; of one that the schema lacks, its `value`'s type."""
    if name not in FIELDS:
        return f"of type {type(value).__name__}", "", "the chapter's own"
    field = FIELDS[name]
    unit = (field.json_schema_extra or {}).get("unit", "")
    return kind_of(field.annotation, field.metadata), unit, field.description


def kind_of(annotation: Any, metadata: list) -> str:
    """A type in words, such as whole number, 1 to 100000."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return kind_of(inner[0], [*inner[1:], *metadata])
    if origin in (Union, types.UnionType):
        return " or ".join(kind_of(part, []) for part in inner)
    if origin is Literal:
        return ", ".join(inner[:-1]) + f" or {inner[-1]}"
    if origin is list:
        return f"list of: {kind_of(inner[0], [])}"
    names = {int: "whole number", float: "number", str: "text", dict: "mapping", type(None): "none"}
    if any(isinstance(part, AfterValidator) for part in metadata):
        return "bit setting"
    bounds = {}
    for part in metadata:
        for item in getattr(part, "metadata", [part]):
            bounds |= {end: getattr(item, end) for end in ("ge", "gt", "le") if hasattr(item, end)}
    low = f" from {bounds['ge']}" if "ge" in bounds else f" above {bounds['gt']}" if "gt" in bounds else ""
    high = f" to {bounds['le']}" if "le" in bounds else ""
    return names[origin or annotation] + low + high
