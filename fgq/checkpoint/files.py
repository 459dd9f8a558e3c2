"""Where a model's files are and what is in them: folders, single files, shards, the hub."""

import json
import pickle
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from fgq.errors import FgqError

SHIPPED = Path(__file__).parent.parent / "weights"  # models that come with the package
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
QUANTIZATION_FILE = "quantization.json"
TORCH_SUFFIXES = (".pt", ".pth", ".bin")
NOT_WEIGHTS = {
    b"<": "a web page, not weights: download the file again, logged in where the site asks for it",
    b"version https://git-lfs": "only a pointer to the weights: fetch the real file (git lfs pull)",
}


@dataclass(frozen=True)
class ModelFiles:
    """One checkpoint on disk; `config` and `quantization` are {} where there is no such file."""

    source: str  # what messages call it
    weights: tuple[Path, ...]  # one file, or all shards
    config: dict
    quantization: dict


def find_files(name_or_path: str | Path) -> ModelFiles:
    """The files of a shipped model's name, a folder, a weights file, or a hub id such as facebook/VGGT-1B.

    A shipped name always means the shipped model; ./vggt-tiny is a folder. Raises FgqError that says what was sought.
    """
    name, path = str(name_or_path), Path(name_or_path).expanduser()
    if name in shipped_models():
        return in_folder(SHIPPED / name)
    if path.is_dir():
        return in_folder(path)
    if path.is_file():
        return ModelFiles(name, (path,), {}, {})
    if is_hub_id(name):
        return in_folder(from_hub(name))
    raise FgqError(
        f"{name}: no such file or folder, nor a model shipped with fgq ({', '.join(shipped_models()) or 'none'}); "
        "give a path or a hub id such as facebook/VGGT-1B"
    )


def shipped_models() -> list[str]:
    return sorted(file.parent.name for file in SHIPPED.glob(f"*/{CONFIG_FILE}"))


def in_folder(folder: Path) -> ModelFiles:
    config = read_json(folder / CONFIG_FILE) if (folder / CONFIG_FILE).is_file() else {}
    quantization = read_json(folder / QUANTIZATION_FILE) if (folder / QUANTIZATION_FILE).is_file() else {}
    return ModelFiles(str(folder), weight_files(folder), config, quantization)


def weight_files(folder: Path) -> tuple[Path, ...]:
    """All shards of an index, else model.safetensors, else the only .safetensors, else the only torch file."""
    if (folder / INDEX_FILE).is_file():
        names = sorted(set(read_json(folder / INDEX_FILE).get("weight_map", {}).values()))
        missing = [name for name in names if not (folder / name).is_file()]
        if missing or not names:
            what = f"misses {len(missing)} of {len(names)} shards ({missing[0]})" if missing else "lists no shard"
            raise FgqError(f"{folder}: {INDEX_FILE} {what}: copy the whole folder again")
        return tuple(folder / name for name in names)
    if (folder / WEIGHTS_FILE).is_file():
        return (folder / WEIGHTS_FILE,)
    for suffixes in ((".safetensors",), TORCH_SUFFIXES):
        found = sorted(path for path in folder.iterdir() if path.suffix in suffixes)
        if len(found) == 1:
            return tuple(found)
        if found:
            raise FgqError(f"{folder}: holds {len(found)} weight files and no {INDEX_FILE}: give one file's path")
    raise FgqError(f"{folder}: holds no weights (looked for {INDEX_FILE}, {WEIGHTS_FILE}, *.safetensors, *.pt)")


def is_hub_id(name: str) -> bool:
    owner, _, model = name.partition("/")
    is_path = "/" in model or name.startswith((".", "~")) or Path(name).suffix in (".safetensors", *TORCH_SUFFIXES)
    return bool(owner and model) and not is_path


def from_hub(name: str) -> Path:
    """The hub's snapshot in its local cache; fetched unless it is there."""
    from huggingface_hub import snapshot_download  # only here: everything else works without a network

    wanted = [CONFIG_FILE, QUANTIZATION_FILE, "*.safetensors", "*.safetensors.index.json"]
    try:
        return Path(snapshot_download(name, allow_patterns=wanted))
    except Exception as error:  # the hub's own errors, the network library's and the operating system's
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise FgqError(
            f"{name}: no such folder here, and the hub did not give it ({reason}): check the name, the network and, "
            "for a gated model, the login; or download it elsewhere and give the folder"
        ) from error


def read_json(path: Path) -> dict:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise FgqError(f"{path}: not readable as JSON ({error}): copy or make it again") from error
    if not isinstance(content, dict):
        raise FgqError(f"{path}: holds a {type(content).__name__}, not a JSON object: copy or make it again")
    return content


def read_tensors(files: ModelFiles) -> dict[str, Tensor]:
    """All tensors by name, on the CPU. Raises FgqError for what is no weights file, is cut short or repeats a name."""
    state: dict[str, Tensor] = {}
    for path in files.weights:
        check_start(path)
        tensors = read_torch(path) if path.suffix in TORCH_SUFFIXES else read_safetensors(path)
        repeated = state.keys() & tensors.keys()
        if repeated:
            raise FgqError(f"{path}: tensor {min(repeated)} is in another shard too: copy the whole folder again")
        state |= tensors
    return state


def check_start(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(64).lstrip()
    for mark, what in NOT_WEIGHTS.items():
        if start.startswith(mark):
            raise FgqError(f"{path}: {what}")


def read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        raise FgqError(f"{path}: not a whole safetensors file ({error}): copy or download it again") from error


def read_torch(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        reason = str(error).split("\n")[0]
        raise FgqError(f"{path}: not a whole torch file of tensors ({reason}): copy or download it again") from error
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        content = content["model"]  # as training scripts save it
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise FgqError(f"{path}: holds no dictionary of tensors: save the model's state_dict()")
    return content
