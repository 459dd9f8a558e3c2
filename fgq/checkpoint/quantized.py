"""Which blocks and parts of a checkpoint are quantized, and how: quantization.json."""

from dataclasses import asdict

import torch
from torch import nn

from fgq.affine import BlockSpec, QuantizedBlock, empty_quantized_block
from fgq.calibrate import Quantization
from fgq.calibrate.parts import PATHS, grids_of, install, with_layers
from fgq.errors import FgqError
from fgq.quant import Grid
from fgq.vggt import VGGT, VGGTConfig

FORMAT = "fgq-quantized-1"
SIDES = ("weight", "activation")


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


def rebuild(model: VGGT, description: dict, source: str) -> None:
    """Puts empty quantized blocks, without storage, where the description has some, and sets `model.quantization`.

    Raises FgqError, naming `source`, for a description of another format, an unknown block or an unknown choice.
    """
    if description.get("format") != FORMAT:
        raise FgqError(
            f"{source}: quantization.json has format {description.get('format')!r}, this fgq reads {FORMAT!r}: "
            "use the fgq that wrote it"
        )
    for name, content in description.get("blocks", {}).items():
        if name not in model.config.block_names:
            raise FgqError(f"{source}: quantization.json describes block {name}, which the model does not have")
        model.aggregator.replace_block(name, build_block(model.config, content, name, source))
    for name, content in description.get("parts", {}).items():
        if name not in PATHS:
            raise FgqError(f"{source}: quantization.json describes part {name}, which fgq does not round")
        install(model, {name: build_part(model.get_submodule(PATHS[name]), content, name, source)})
    model.name_or_path = description.get("model", "")
    calibration = description.get("calibration")
    model.quantization = read_calibration(calibration, source) if calibration is not None else None


def build_block(config: VGGTConfig, content: dict, name: str, source: str) -> QuantizedBlock:
    """An empty block, without storage, as described."""
    try:
        grids = {side: Grid(**content[side]) for side in SIDES}
        layer_bits = content.get("layer_bits")
        spec = BlockSpec(**(content | grids | {"layer_bits": tuple(layer_bits) if layer_bits else None}))
        with torch.device("meta"):
            return empty_quantized_block(config, spec)
    except (KeyError, TypeError, FgqError) as error:
        raise FgqError(
            f"{source}: quantization.json describes block {name} in a way fgq cannot read: {error}"
        ) from error


def build_part(part: nn.Module, content: dict, name: str, source: str) -> nn.Module:
    """The part of a model without storage with empty quantized layers, as described."""
    try:
        with torch.device("meta"):
            return with_layers(part, *(Grid(**content[side]) for side in SIDES), rounds=False)
    except (KeyError, TypeError, FgqError) as error:
        raise FgqError(f"{source}: quantization.json describes the {name} in a way fgq cannot read: {error}") from error


def read_calibration(content: dict, source: str) -> Quantization:
    try:
        return Quantization.from_dict(content)
    except (KeyError, TypeError, FgqError) as error:
        raise FgqError(f"{source}: quantization.json states a calibration that fgq cannot read: {error}") from error
