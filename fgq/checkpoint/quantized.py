"""Which blocks and parts of a checkpoint are quantized, and how: quantization.json."""

from dataclasses import asdict, fields

import torch
from torch import nn

from fgq.affine import BlockSpec, QuantizedBlock, empty_quantized_block
from fgq.calibrate import Quantization
from fgq.calibrate.parts import PATHS, grids_of, install, with_layers
from fgq.errors import FgqError
from fgq.quant import Grid
from fgq.vggt import VGGT, VGGTConfig
from fgq.writing import reason

FORMAT = "fgq-quantized-1"
SIDES = ("weight", "activation")
FIELDS = {"blocks": dict, "parts": dict, "model": str}  # of a description, and their types
UNREADABLE = (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError)


def describe(model: VGGT) -> dict:
    """What `rebuild` needs: each quantized block's spec by its name, and how it was calibrated, where that is known.

    Also the full-precision weights' name, and both grids of the encoder and the camera head where they are rounded.

    {} for a model without quantized blocks and parts.
    """
    blocks = {
        name: asdict(block.spec) for name, block in model.aggregator.blocks() if isinstance(block, QuantizedBlock)
    }
    found = {name: grids_of(model.get_submodule(path)) for name, path in PATHS.items()}
    parts = {name: dict(zip(SIDES, map(asdict, grids), strict=True)) for name, grids in found.items() if grids}
    if not blocks and not parts:
        return {}
    calibration = model.quantization.to_dict() if model.quantization is not None else None
    about = {"format": FORMAT, "quant_method": "fgq", "model": model.name_or_path}
    return about | {"blocks": blocks, "parts": parts, "calibration": calibration}


def lasting(description: dict) -> dict:
    """All of it but the seconds that each block took: what another run of the same calibration would say too."""
    calibration = description.get("calibration")
    blocks = calibration.get("blocks") if isinstance(calibration, dict) else None
    if not isinstance(blocks, list | tuple):
        return description
    kept = [
        {k: v for k, v in block.items() if k != "seconds"} if isinstance(block, dict) else block for block in blocks
    ]
    return description | {"calibration": calibration | {"blocks": kept}}


def rebuild(model: VGGT, description: dict, source: str) -> None:
    """Puts empty quantized blocks, without storage, where the description has some, and sets `model.quantization`.

    Raises FgqError, naming `source`, for a description of another format, an unknown block or an unknown choice.
    """
    if description.get("format") != FORMAT:
        raise FgqError(
            f"{source}: quantization.json has format {description.get('format')!r}, this fgq reads {FORMAT!r}: "
            "use the fgq that wrote it"
        )
    blocks, parts, called = (description.get(field, kind()) for field, kind in FIELDS.items())
    for field, kind in FIELDS.items():
        if not isinstance(description.get(field, kind()), kind):
            raise FgqError(f"{source}: quantization.json: its {field} cannot be read: copy it or save the model again")
    for name, content in blocks.items():
        if name not in model.config.block_names:
            raise FgqError(f"{source}: quantization.json describes block {name}, which the model does not have")
        model.aggregator.replace_block(name, build_block(model.config, content, name, source))
    for name, content in parts.items():
        if name not in PATHS:
            raise FgqError(f"{source}: quantization.json describes part {name}, which fgq does not round")
        install(model, {name: build_part(model.get_submodule(PATHS[name]), content, name, source)})
    model.name_or_path = called
    calibration = description.get("calibration")
    model.quantization = read_calibration(calibration, source) if calibration is not None else None


def read_grid(content: dict) -> Grid:
    """Raises TypeError for a value of another type than the field's, which would be taken for something else."""
    for field in fields(Grid):
        value = content.get(field.name, field.default)
        if not isinstance(value, field.type) or (isinstance(value, bool) and field.type is not bool):
            raise TypeError(f"{field.name} of a grid is {value!r}")
    return Grid(**content)


def build_block(config: VGGTConfig, content: dict, name: str, source: str) -> QuantizedBlock:
    """An empty block, without storage, as described."""
    try:
        grids = {side: read_grid(content[side]) for side in SIDES}
        layer_bits = content.get("layer_bits")
        spec = BlockSpec(**(content | grids | {"layer_bits": tuple(layer_bits) if layer_bits else None}))
        with torch.device("meta"):
            return empty_quantized_block(config, spec)
    except UNREADABLE as error:
        raise FgqError(
            f"{source}: quantization.json describes block {name} in a way fgq cannot read: {reason(error)}"
        ) from error


def build_part(part: nn.Module, content: dict, name: str, source: str) -> nn.Module:
    """The part of a model without storage with empty quantized layers, as described."""
    try:
        with torch.device("meta"):
            return with_layers(part, *(read_grid(content[side]) for side in SIDES), rounds=False)
    except UNREADABLE as error:
        raise FgqError(
            f"{source}: quantization.json describes the {name} in a way fgq cannot read: {reason(error)}"
        ) from error


def read_calibration(content: dict, source: str) -> Quantization:
    try:
        return Quantization.from_dict(content)
    except UNREADABLE as error:
        raise FgqError(
            f"{source}: quantization.json states a calibration that fgq cannot read: {reason(error)}"
        ) from error
