"""A model as a folder: config.json, model.safetensors and, where blocks are quantized, quantization.json."""

import json
from contextlib import suppress
from pathlib import Path

from fgq.checkpoint.files import (
    CONFIG_FILE,
    INDEX_FILE,
    QUANTIZATION_FILE,
    TORCH_INDEX_FILE,
    WEIGHTS_FILE,
    stated_in,
)
from fgq.checkpoint.quantized import describe, lasting
from fgq.errors import FgqError
from fgq.tensor_files import save_tensors
from fgq.vggt import VGGT
from fgq.writing import check_name, write_json


def save(model: VGGT, folder: str | Path) -> None:
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
        if weights.exists() and stated_in(weights):
            for name in (CONFIG_FILE, QUANTIZATION_FILE):
                weights.with_name(name).unlink(missing_ok=True)


def write_quantization(model: VGGT, folder: str | Path) -> None:
    """Writes quantization.json beside a model's weights, or removes an old one where no block is quantized."""
    description = describe(model)
    if description:
        write_json(Path(folder) / QUANTIZATION_FILE, description, "the quantization")
    else:
        forget_quantization(folder)


def forget_quantization(folder: str | Path) -> None:
    with suppress(NotADirectoryError):
        (Path(folder) / QUANTIZATION_FILE).unlink(missing_ok=True)
