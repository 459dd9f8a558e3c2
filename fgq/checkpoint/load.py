"""One verb that loads a model from wherever it is: shipped, on disk, on the hub, full precision or quantized."""

import json
from pathlib import Path

import torch
from torch import Tensor

from fgq.checkpoint.delta import Base, inherit
from fgq.checkpoint.files import ModelFiles, find_files, weights_name
from fgq.checkpoint.hub import HubOptions
from fgq.checkpoint.quantized import check_method, check_packed, hold_packed, rebuild
from fgq.checkpoint.tensors import list_tensors, stream_tensors
from fgq.errors import FgqError
from fgq.tensor_files import aligned
from fgq.vggt import VGGT, VGGTConfig
from fgq.vggt.infer_config import SIZES, build_config
from fgq.vggt.saved import CONFIG_FILE, QUANTIZATION_FILE, lasting
from fgq.vggt.weights import check_fit, empty_model, fill, report_omitted

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)  # in which a model can compute


def load_model(
    name_or_path: str | Path,
    device: torch.device | str | None = None,
    dtype: torch.dtype | str | None = None,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    verify: bool = True,
    base: str | Path | None = None,
) -> VGGT:
    """A VGGT ready to run, in `dtype` (or its name, such as "bfloat16") on `device` (the CPU unless told).

    The device "auto" is a GPU where torch sees one, and the CPU where not.

    Without `dtype` a full-precision model comes as float32, whatever the file holds, and a quantized one in the types
    it was saved in, so that it computes the same bits.

    `name_or_path` is "vggt-tiny" (shipped), a folder with safetensors or torch weights (one file, or shards with their
    index), one such file or index, a hub id such as "facebook/VGGT-1B" (`revision`, `cache_dir` and `local_files_only`
    are huggingface_hub's), or a folder that `model.save` wrote. Sizes come from config.json where there is one and are
    otherwise read off the tensors' shapes; where both say something they must agree.

    Files are mapped, not read: on the CPU, a tensor that has the wanted type already stays a part of the file until it
    is needed, and every other one is converted or moved on its own, so there are never two copies of a model. Do not
    change the files of a loaded model in place.

    What the weights are called is in `model.name_or_path`; a quantized model has the name of those it was made of.

    What fgq saved has a checksum for every tensor, which is compared first, reading the file once without keeping it in
    memory; without `verify` it is not. Files of others have none.

    A delta (see `fgq.checkpoint.save_delta`) needs the full-precision model that it was made from: `base` is its name
    or path. Every tensor of the base is compared, unless without `verify`.

    Names and shapes must fit exactly; only the track head's tensors are left out, with a warning, and named in
    `model.omitted_tensors`. Raises FgqError, one line, for everything else; `fgq.vggt.weights.MisfitError` has lists.
    """
    dtype, device = find_dtype(dtype), find_device(device)
    files = find_files(name_or_path, HubOptions(revision, cache_dir, local_files_only))
    based_on = None if base is None else find_files(base, HubOptions(None, cache_dir, local_files_only))
    model, omitted = outline(files)
    inherited = inherit(files, based_on, verify)
    if not files.quantization and dtype is None:
        dtype = torch.float32

    def place(tensor: Tensor) -> Tensor:
        # Both return the tensor itself where nothing changes.
        return aligned(tensor.to(device, dtype if tensor.is_floating_point() else None))

    state = dict(stream_tensors(files, place, set(omitted), verify))
    state |= {name: place(tensor) for name, tensor in inherited}
    fill(model, state, files.source)
    check_packed(model, files.source)
    report_omitted(model, omitted, files.source)
    if not files.quantization:
        model.name_or_path = weights_name(name_or_path)
    return model.eval()


def outline(files: ModelFiles) -> tuple[VGGT, tuple[str, ...]]:
    """The model that the files hold, without storage, and the tensors they have beyond it; no values are read.

    Raises FgqError for whatever makes `load_model` refuse the files, apart from the values.
    """
    listing = all_tensors(files)
    config = dict(files.config)
    others = config.pop("quantization_config", None)  # where transformers keeps what it knows of
    if others:
        method = others.get("quant_method") if isinstance(others, dict) else others
        check_method(method, f"{files.source}: the quantization_config in config.json")
    shapes = {name: tuple(tensor.shape) for name, tensor in listing.items()}
    model = empty_model(build_config(config, shapes, files.source))
    if files.quantization:
        rebuild(model, files.quantization, files.source)
        hold_packed(model, listing)
    omitted = check_fit(model, listing, files.source)
    check_copies(model.config, files)
    return model, omitted


def all_tensors(files: ModelFiles) -> dict[str, Tensor]:
    """Every tensor in the files, and of a delta every one that it takes from its base, without storage."""
    base = Base.read(files)
    return list_tensors(files) | ({} if base is None else base.outline())


def check_copies(config: VGGTConfig, files: ModelFiles) -> None:
    """Raises FgqError where config.json or quantization.json, which are copies, say what the weights file does not."""
    stated = files.stated.get(CONFIG_FILE, {})
    differing = [CONFIG_FILE] if any(stated.get(n, getattr(config, n)) != getattr(config, n) for n in SIZES) else []
    if QUANTIZATION_FILE in files.stated and as_text(files.stated[QUANTIZATION_FILE]) != as_text(files.quantization):
        differing.append(QUANTIZATION_FILE)
    if differing:
        raise FgqError(
            f"{files.source}: {' and '.join(differing)} beside {files.weights[0].name} is of another model or was "
            "changed: remove it, as the weights file states the same itself, or save the model again"
        )


def as_text(description: dict) -> str:
    """Equal for equal descriptions, NaN included."""
    return json.dumps(lasting(description), sort_keys=True)


def find_dtype(dtype: torch.dtype | str | None) -> torch.dtype | None:
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if dtype is not None and found not in DTYPES:
        raise FgqError(f"dtype {dtype!r} is no type of weights: choose float32, bfloat16 or float16")
    return found


def find_device(device: torch.device | str | None) -> torch.device | str | None:
    """What "auto" stands for, or the device itself. Raises FgqError for one that holds no tensor."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        if torch.empty(0, device=device).is_meta:
            raise RuntimeError("it holds no values")
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split("\n")[0]
        raise FgqError(
            f"device {device} cannot be used ({reason}): choose cpu, or cuda where torch sees a GPU"
        ) from error
    return device
