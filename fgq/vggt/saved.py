"""A model as a folder: config.json, model.safetensors and, where anything is quantized, quantization.json.

Large models are several files with an index in place of model.safetensors. Integer codes are stored as a byte each, or
packed at their own width, as compressed-tensors does it (pack-quantized). Its loaders know nothing of transforms and
clips and would compute something else, so what is stored has a method and a format of its own.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fgq.errors import FgqError
from fgq.shards import LIMIT, forget_shards, own_shards, save_shards
from fgq.tensor_files import CHECKSUMS, read_metadata, save_tensors
from fgq.vggt.described import Described
from fgq.writing import check_name, write_json

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
TORCH_INDEX_FILE = "pytorch_model.bin.index.json"
QUANTIZATION_FILE = "quantization.json"
BASE = "base"  # in the metadata of a delta's weights: the model that it lacks tensors of
FORMAT = "fgq-quantized-1"
OWN_ACTIVATIONS = "fgq-quantized-2"  # some activations have bits of their own, which older fgq would not see
PACKED = "fgq-quantized-3"  # codes are packed at their own width
FORMATS = (FORMAT, OWN_ACTIVATIONS, PACKED)
METHOD, LAYOUT = "fgq", "pack-quantized"  # what has to compute with the codes, and how they are packed
PACKED_NAME = ".weight_packed"  # ends the name of packed codes
PARTS = {"encoder": "aggregator.patch_embed", "camera_head": "camera_head"}  # that may be quantized beside the blocks


def describe(model: nn.Module, packed: bool = False) -> dict[str, Any]:
    """What builds the model again: each quantized block's and part's own words by its name, and the calibration's.

    Also the full-precision weights' name. {} for a model without quantized blocks and parts. `packed` says that codes
    will be packed even where the model does not hold them so.
    """
    blocks = {name: block.description() for name, block in model.aggregator.blocks()}
    parts = {name: part_description(model.get_submodule(path)) for name, path in PARTS.items()}
    blocks, parts = ({name: said for name, said in found.items() if said} for found in (blocks, parts))
    if not blocks and not parts:
        return {}
    calibration = model.quantization.to_dict() if model.quantization is not None else None
    format = OWN_ACTIVATIONS if any("activation_bits" in said for said in blocks.values()) else FORMAT
    packing = {}
    if packed or any(name.endswith(PACKED_NAME) for name in model.state_dict()):
        format, packing = PACKED, {"packing": LAYOUT}
    about = {"format": format, "quant_method": METHOD, "model": model.name_or_path} | packing
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


def save(model: nn.Module, folder: str | Path, packed: bool = False, shard_bytes: int = LIMIT) -> None:
    """Writes a folder that `fgq.load_model` reads; tensors keep their types and their public names.

    With `packed`, codes take their own width in place of a byte each; a model that holds them packed is saved so in any
    case. A model of more than `shard_bytes` becomes several files with an index.

    The weights' files state the sizes and the quantization too, and have checksums: they are the model, whole or not at
    all; config.json and quantization.json are copies for readers. A model may be saved over the folder it was loaded
    from, and whenever that is cut short, the folder holds the old model or the new one (or, where other software wrote
    the old one, may be refused until the call is repeated). Raises FgqError where the disk does not take it, and for
    codes that do not fit into the bits of their grid.
    """
    description = describe(model, packed)
    state = packed_state(model) if packed else model.state_dict()
    write_model(folder, state, model.config.to_dict(), description, {}, shard_bytes)


def packed_state(model: nn.Module) -> dict[str, Tensor]:
    """The model's tensors by name, codes packed. Raises FgqError that names a layer whose codes do not fit."""
    state = dict(model.state_dict())
    for path, module in model.named_modules():
        try:
            packed = module.packed_state() if isinstance(module, Described) else None
        except FgqError as error:
            raise FgqError(f"{path}: {error}") from error
        if packed is not None:
            state = {name: tensor for name, tensor in state.items() if not name.startswith(f"{path}.")}
            state |= {f"{path}.{name}": tensor for name, tensor in packed.items()}
    return state


def write_model(
    folder: str | Path,
    state: Mapping[str, Tensor],
    config: dict[str, Any],
    description: dict[str, Any],
    also_stated: Mapping[str, str],
    shard_bytes: int,
) -> None:
    """One model's files, in place of those of another one in the folder."""
    folder = check_name(folder)
    stated = {CONFIG_FILE: json.dumps(config), QUANTIZATION_FILE: json.dumps(lasting(description))}
    metadata = {"format": "pt"} | stated | also_stated
    forget_copies(folder)
    if sum(tensor.nbytes for tensor in state.values()) <= shard_bytes:
        save_tensors(folder / WEIGHTS_FILE, state, metadata, "the model")
        others = INDEX_FILE, TORCH_INDEX_FILE  # another checkpoint's shards would be read instead
    else:
        save_shards(folder / INDEX_FILE, state, metadata, shard_bytes, "the model")
        others = WEIGHTS_FILE, TORCH_INDEX_FILE
    for name in others:
        (folder / name).unlink(missing_ok=True)
    forget_shards(folder)
    write_json(folder / CONFIG_FILE, config, "the model's sizes")
    write_description(description, folder)


def forget_copies(folder: Path) -> None:
    """Of an older model that states them itself, so that none is ever found beside the weights of another."""
    weights = [folder / name for name in own_shards(folder / INDEX_FILE)] or [folder / WEIGHTS_FILE]
    with suppress(FgqError):  # what is no whole model is replaced
        if all(path.exists() and CHECKSUMS in read_metadata(path) for path in weights):
            for name in (CONFIG_FILE, QUANTIZATION_FILE):
                (folder / name).unlink(missing_ok=True)


def write_quantization(model: nn.Module, folder: str | Path) -> None:
    """Writes quantization.json beside a model's weights, or removes an old one where no block is quantized."""
    write_description(describe(model), folder)


def write_description(description: dict[str, Any], folder: str | Path) -> None:
    if description:
        write_json(Path(folder) / QUANTIZATION_FILE, description, "the quantization")
    else:
        forget_quantization(folder)


def forget_quantization(folder: str | Path) -> None:
    with suppress(NotADirectoryError):
        (Path(folder) / QUANTIZATION_FILE).unlink(missing_ok=True)
