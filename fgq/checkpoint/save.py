"""A model as a folder: config.json, model.safetensors and, where blocks are quantized, quantization.json."""

import json
import os
from pathlib import Path

from safetensors.torch import save_file

from fgq.checkpoint.files import CONFIG_FILE, INDEX_FILE, QUANTIZATION_FILE, WEIGHTS_FILE
from fgq.checkpoint.quantized import describe
from fgq.vggt import VGGT


def save(model: VGGT, folder: str | Path) -> None:
    """Writes a folder that `fgq.load_model` reads; tensors keep their types and their public names.

    Each file appears whole or not at all, and a model may be saved over the folder it was loaded from.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    # Loaded tensors may still be mapped from the file that is being replaced: never write into it.
    part = folder / f"{WEIGHTS_FILE}.part"
    save_file(state, part, metadata={"format": "pt"})
    os.replace(part, folder / WEIGHTS_FILE)
    write_json(folder / CONFIG_FILE, model.config.to_dict())
    (folder / INDEX_FILE).unlink(missing_ok=True)  # another checkpoint's shards would be read instead
    write_quantization(model, folder)


def write_quantization(model: VGGT, folder: str | Path) -> None:
    """Writes quantization.json beside a model's weights, or removes an old one where no block is quantized."""
    path, description = Path(folder) / QUANTIZATION_FILE, describe(model)
    path.unlink(missing_ok=True)
    if description:
        write_json(path, description)


def write_json(path: Path, content: dict) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(part, path)
