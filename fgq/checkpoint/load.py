"""One verb that loads a model from wherever it is: shipped, on disk, on the hub, full precision or quantized."""

from pathlib import Path

import torch

from fgq.checkpoint.files import find_files, read_tensors
from fgq.checkpoint.quantized import rebuild
from fgq.vggt import VGGT
from fgq.vggt.weights import build_config, empty_model, fill, to_dtype


def load_model(
    name_or_path: str | Path, device: torch.device | str | None = None, dtype: torch.dtype | None = None
) -> VGGT:
    """A VGGT ready to run, in `dtype` on `device` (the CPU unless told).

    Without `dtype` a full-precision model comes as float32, whatever the file holds, and a quantized one in the types
    it was saved in, so that it computes the same bits.

    `name_or_path` is "vggt-tiny" (shipped), a folder with config.json and safetensors (one file or shards), a
    .safetensors or .pt file (its sizes are read off the tensors), a hub id such as "facebook/VGGT-1B", or a folder
    that `model.save` wrote. Names and shapes must fit exactly; only the track head's tensors are left out, with a
    warning, and named in `model.omitted_tensors`. Raises FgqError, one line, for everything else.
    """
    files = find_files(name_or_path)
    state = read_tensors(files)
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    model = empty_model(build_config(files.config, shapes, files.source))
    if files.quantization:
        rebuild(model, files.quantization, files.source)
    elif dtype is None:
        dtype = torch.float32
    fill(model, state if dtype is None else to_dtype(state, dtype), files.source)
    return model.to(device).eval()
