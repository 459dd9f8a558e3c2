"""Random weights in the public file layout: the real sizes, to measure a machine with before 5 GB are downloaded."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch

from fgq.errors import FgqError
from fgq.tensor_files import packed_header
from fgq.vggt import VGGTConfig
from fgq.vggt.saved import WEIGHTS_FILE
from fgq.vggt.weights import empty_model
from fgq.writing import check_name, whole_folder

DEVIATION = 0.02  # of every random value; small enough that depth and points stay finite at any depth of the model


def public_shapes(config: VGGTConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a checkpoint of this size, without a track head."""
    return {name: tuple(tensor.shape) for name, tensor in empty_model(config).state_dict().items()}


def read_shapes(path: str | Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes from a JSON file {name: [sizes]}. Raises FgqError for anything else."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        return {name: tuple(map(int, shape)) for name, shape in content.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise FgqError(f"{path}: not a JSON object of tensor names and their shapes ({error})") from error


def write_random_weights(folder: str | Path, shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> Path:
    """Writes model.safetensors (float32) into a new folder, one tensor after the other; returns its path.

    Norms' weights are near 1, everything else near 0. The file is written in the safetensors format directly: its own
    writer wants all tensors in memory at once. Raises FgqError as `fgq.writing.whole_folder` does.
    """
    # Large ones first: their sizes are multiples of 64 bytes, and a small one would shift all behind it.
    shapes = dict(sorted(shapes.items(), key=lambda item: -torch.Size(item[1]).numel()))
    header, end = {}, 0
    for name, shape in shapes.items():
        start, end = end, end + 4 * torch.Size(shape).numel()
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}
    start = packed_header(json.dumps({"__metadata__": {"format": "pt"}} | header))
    generator = torch.Generator().manual_seed(seed)
    with whole_folder(folder, "random weights") as part, (part / WEIGHTS_FILE).open("wb") as file:
        file.write(start)
        for name, shape in shapes.items():
            values = torch.randn(shape, generator=generator) * DEVIATION
            if len(shape) == 1 and name.endswith(".weight"):  # of a norm
                values += 1
            file.write(values.numpy().tobytes())
    return check_name(folder) / WEIGHTS_FILE
