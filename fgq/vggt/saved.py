"""A model as a folder: config.json, model.safetensors and, where anything is quantized, quantization.json."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import nn

from fgq.errors import FgqError
from fgq.tensor_files import CHECKSUMS, read_metadata, save_tensors
from fgq.vggt.described import Described
from fgq.writing import check_name, write_json

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
TORCH_INDEX_FILE = "pytorch_model.bin.index.json"
QUANTIZATION_FILE = "quantization.json"
FORMAT = "fgq-quantized-1"
OWN_ACTIVATIONS = "fgq-quantized-2"  # some activations have bits of their own, which older fgq would not see
PARTS = {"encoder": "aggregator.patch_embed", "camera_head": "camera_head"}  # that may be quantized beside the blocks


def describe(model: nn.Module) -> dict[str, Any]:
    """What builds the model again: each quantized block's and part's own words by its name, and the calibration's.

    Also the full-precision weights' name. {} for a model without quantized blocks and parts.
    """
    blocks = {name: block.description() for name, block in model.aggregator.blocks()}
    parts = {name: part_description(model.get_submodule(path)) for name, path in PARTS.items()}
    blocks, parts = ({name: said for name, said in found.items() if said} for found in (blocks, parts))
    if not blocks and not parts:
        return {}
    calibration = model.quantization.to_dict() if model.quantization is not None else None
    format = OWN_ACTIVATIONS if any("activation_bits" in said for said in blocks.values()) else FORMAT
    about = {"format": format, "quant_method": "fgq", "model": model.name_or_path}
    return about | {"blocks": blocks, "parts": parts, "calibration": calibration}


def part_description(part: nn.Module) -> dict[str, Any] | None:
    """Of the first module that is quantized: all layers of a part are alike."""
    found = (module.description() for module in part.modules() if isinstance(module, Described))
    return next((said for said in found if said), None)


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


def save(model: nn.Module, folder: str | Path) -> None:
    """Writes a folder that `fgq.load_model` reads; tensors keep their types and their public names.

    The weights file states the sizes and the quantization too, and has checksums: it is the model, whole or not at all;
    config.json and quantization.json are copies for readers. A model may be saved over the folder it was loaded from,
    and whenever that is cut short, the folder holds the old model or the new one (or, where other software wrote the
    old one, may be refused until the call is repeated). Raises FgqError where the disk does not take it.
    """
    folder = check_name(folder)
    weights, config, description = folder / WEIGHTS_FILE, model.config.to_dict(), describe(model)
    forget_copies(weights)
    stated = {CONFIG_FILE: json.dumps(config), QUANTIZATION_FILE: json.dumps(lasting(description))}
    save_tensors(weights, model.state_dict(), {"format": "pt"} | stated, "the model")
    for index in (INDEX_FILE, TORCH_INDEX_FILE):
        (folder / index).unlink(missing_ok=True)  # another checkpoint's shards would be read instead
    write_json(folder / CONFIG_FILE, config, "the model's sizes")
    write_quantization(model, folder)


def forget_copies(weights: Path) -> None:
    """Of an older model that states them itself, so that none is ever found beside the weights of another."""
    with suppress(FgqError):  # what is no whole model is replaced
        if weights.exists() and CHECKSUMS in read_metadata(weights):
            for name in (CONFIG_FILE, QUANTIZATION_FILE):
                weights.with_name(name).unlink(missing_ok=True)


def write_quantization(model: nn.Module, folder: str | Path) -> None:
    """Writes quantization.json beside a model's weights, or removes an old one where no block is quantized."""
    description = describe(model)
    if description:
        write_json(Path(folder) / QUANTIZATION_FILE, description, "the quantization")
    else:
        forget_quantization(folder)


def forget_quantization(folder: str | Path) -> None:
    with suppress(NotADirectoryError):
        (Path(folder) / QUANTIZATION_FILE).unlink(missing_ok=True)
