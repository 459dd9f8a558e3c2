"""Which blocks and parts of a checkpoint are quantized, and how: quantization.json."""

from collections.abc import Collection
from dataclasses import fields

import torch
from torch import nn

from fgq.affine import BlockSpec, QuantizedBlock, empty_quantized_block
from fgq.calibrate import Quantization
from fgq.calibrate.parts import install, with_layers
from fgq.errors import FgqError
from fgq.quant import Grid, PackedLinear
from fgq.quant.packed_linear import quantized_layers
from fgq.vggt import VGGT, VGGTConfig
from fgq.vggt.saved import FORMATS, METHOD, PACKED_NAME, PARTS
from fgq.writing import reason

SIDES = ("weight", "activation")
FIELDS = {"blocks": dict, "parts": dict, "model": str}  # of a description, and their types
UNREADABLE = (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError)


def rebuild(model: VGGT, description: dict, source: str) -> None:
    """Puts empty quantized blocks, without storage, where the description has some, and sets `model.quantization`.

    Raises FgqError, naming `source`, for a description of another method or format, an unknown block or an unknown
    choice.
    """
    check_method(description.get("quant_method", METHOD), f"{source}: quantization.json")
    if description.get("format") not in FORMATS:
        raise FgqError(
            f"{source}: quantization.json has format {description.get('format')!r}, this fgq reads "
            f"{', '.join(map(repr, FORMATS))}: use the fgq that wrote it, or a newer one"
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
        if name not in PARTS:
            raise FgqError(f"{source}: quantization.json describes part {name}, which fgq does not round")
        install(model, {name: build_part(model.get_submodule(PARTS[name]), content, name, source)})
    model.name_or_path = called
    calibration = description.get("calibration")
    model.quantization = read_calibration(calibration, source) if calibration is not None else None


def check_method(method: object, source: str) -> None:
    """Raises FgqError for codes that other software made, whose values depend on what it does with them."""
    if method != METHOD:
        raise FgqError(
            f"{source} states quant_method {method!r}, of which fgq knows nothing but the name: load the model with "
            "the software that made it"
        )


def hold_packed(model: VGGT, names: Collection[str]) -> None:
    """Puts empty layers with packed codes, without storage, where the files hold packed ones."""
    for path, layer in list(quantized_layers(model)):
        if f"{path}{PACKED_NAME}" in names:
            model.set_submodule(path, PackedLinear.like(layer))


def check_packed(model: VGGT, source: str) -> None:
    """Raises FgqError where packed codes, once read, are not of the shape and type that they should have."""
    for path, layer in quantized_layers(model):
        try:
            if isinstance(layer, PackedLinear):
                layer.check()
        except FgqError as error:
            raise FgqError(f"{source}: {path}: {error}: copy it or save the model again") from error


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
        layer_bits, activation_bits = content.get("layer_bits"), content.get("activation_bits")
        own = {"layer_bits": tuple(layer_bits) if layer_bits else None}
        own |= {"activation_bits": tuple((patch, special) for patch, special in activation_bits or ()) or None}
        spec = BlockSpec(**(content | grids | own))
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
