"""Which blocks of a checkpoint are quantized, and how: quantization.json."""

from dataclasses import asdict

import torch

from fgq.affine import BlockSpec, QuantizedBlock, empty_quantized_block
from fgq.calibrate import Quantization
from fgq.errors import FgqError
from fgq.quant import Grid
from fgq.vggt import VGGT, VGGTConfig

FORMAT = "fgq-quantized-1"


def describe(model: VGGT) -> dict:
    """What `rebuild` needs: each quantized block's spec by its name, and how it was calibrated, where that is known.

    Also the full-precision weights' name.

    {} for a model without quantized blocks.
    """
    blocks = {
        name: asdict(block.spec) for name, block in model.aggregator.blocks() if isinstance(block, QuantizedBlock)
    }
    if not blocks:
        return {}
    calibration = model.quantization.to_dict() if model.quantization is not None else None
    about = {"format": FORMAT, "quant_method": "fgq", "model": model.name_or_path}
    return about | {"blocks": blocks, "calibration": calibration}


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
    model.name_or_path = description.get("model", "")
    calibration = description.get("calibration")
    model.quantization = read_calibration(calibration, source) if calibration is not None else None


def build_block(config: VGGTConfig, content: dict, name: str, source: str) -> QuantizedBlock:
    """An empty block, without storage, as described."""
    try:
        grids = {side: Grid(**content[side]) for side in ("weight", "activation")}
        layer_bits = content.get("layer_bits")
        spec = BlockSpec(**(content | grids | {"layer_bits": tuple(layer_bits) if layer_bits else None}))
        with torch.device("meta"):
            return empty_quantized_block(config, spec)
    except (KeyError, TypeError, FgqError) as error:
        raise FgqError(
            f"{source}: quantization.json describes block {name} in a way fgq cannot read: {error}"
        ) from error


def read_calibration(content: dict, source: str) -> Quantization:
    try:
        return Quantization.from_dict(content)
    except (KeyError, TypeError, FgqError) as error:
        raise FgqError(f"{source}: quantization.json states a calibration that fgq cannot read: {error}") from error
