"""Where a model's files are: shipped with the package, a folder, a single file, shards with an index, the hub."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from fgq.checkpoint.hub import HubOptions, fetch_snapshot, is_hub_id
from fgq.errors import FgqError
from fgq.shards import check_shards
from fgq.tensor_files import CHECKSUMS, DamagedFile, read_metadata
from fgq.vggt.saved import BASE, CONFIG_FILE, INDEX_FILE, QUANTIZATION_FILE, TORCH_INDEX_FILE, WEIGHTS_FILE
from fgq.writing import reason

SHIPPED = Path(__file__).parent.parent / "weights"  # models that come with the package
TORCH_WEIGHTS_FILE = "pytorch_model.bin"
TORCH_SUFFIXES = (".pt", ".pth", ".bin")
INDEX_SUFFIX = ".index.json"


@dataclass(frozen=True)
class ModelFiles:
    """One checkpoint on disk; `config`, `quantization` and `index` are {} where there is no such file.

    A weights file that fgq wrote states both itself; the files beside it are copies for readers, and must agree.
    """

    source: str  # what messages call it
    weights: tuple[Path, ...]  # one file, or all shards
    config: dict
    quantization: dict
    stated: dict[str, dict]  # the content of both files as the weights file itself states it, and of a delta its base
    index: dict[str, str] = field(default_factory=dict)  # shard's file name by tensor name

    @property
    def num_bytes(self) -> int:
        """Of the weight files, on the disk."""
        return sum(path.stat().st_size for path in self.weights)


def find_files(name_or_path: str | Path, hub: HubOptions | None = None) -> ModelFiles:
    """The files of a shipped model's name, a folder, a weights or index file, or a hub id such as facebook/VGGT-1B.

    A shipped name always means the shipped model; ./vggt-tiny is a folder. Raises FgqError that says what was sought.
    """
    try:
        return find_place(str(name_or_path), Path(name_or_path).expanduser(), hub)
    except (OSError, RuntimeError) as error:
        raise FgqError(f"{name_or_path}: cannot be read ({reason(error)}): check the path and its permissions") from (
            error
        )


def find_place(name: str, path: Path, hub: HubOptions | None) -> ModelFiles:
    if name in shipped_models():
        return in_folder(SHIPPED / name, name)
    if path.is_dir():
        return in_folder(path, name)
    if path.is_file():
        return alone(path, name)
    if is_hub_id(name, TORCH_SUFFIXES):
        return in_folder(fetch_snapshot(name, hub or HubOptions()), name)
    raise FgqError(
        f"{name}: no such file or folder, nor a model shipped with fgq ({', '.join(shipped_models()) or 'none'}); "
        "give a path or a hub id such as facebook/VGGT-1B"
    )


def weights_name(name_or_path: str | Path) -> str:
    """What results call these weights: a file's or folder's own name, without where it lies; else the name given."""
    path = Path(name_or_path)
    return path.resolve().name if path.exists() else str(name_or_path)


def shipped_models() -> list[str]:
    return sorted(file.parent.name for file in SHIPPED.glob(f"*/{CONFIG_FILE}"))


def in_folder(folder: Path, source: str) -> ModelFiles:
    for index in (INDEX_FILE, TORCH_INDEX_FILE):
        if (folder / index).is_file():
            return indexed(folder / index, source)
    return described(source, (weight_file(folder),), folder)


def alone(path: Path, source: str) -> ModelFiles:
    """One file, with the config.json beside it where there is one; an index means all its shards."""
    if path.name.endswith(INDEX_SUFFIX):
        return indexed(path, source)
    for index in path.parent.glob(f"*{INDEX_SUFFIX}"):
        shards = set(read_index(index).values())
        if path.name in shards and len(shards) > 1:
            raise FgqError(f"{path}: is one of {len(shards)} shards: give the folder, or {index.name}")
    return described(source, (path,), path.parent)


def indexed(index: Path, source: str) -> ModelFiles:
    shard_of = read_index(index)
    names = sorted(set(shard_of.values()))
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise FgqError(
            f"{index.parent}: {index.name} names {len(names)} shards, of which {len(missing)} are not there "
            f"({', '.join(missing)}): copy or download them"
        )
    check_shards(index)
    return described(source, tuple(index.parent / name for name in names), index.parent, shard_of)


def read_index(index: Path) -> dict[str, str]:
    shard_of = read_json(index).get("weight_map")
    if not isinstance(shard_of, dict) or not shard_of:
        raise FgqError(f"{index}: lists no shard (weight_map): copy the whole folder again")
    for name, shard in shard_of.items():
        # A shard lies beside its index: a path elsewhere would read a file that was never part of the model.
        if not isinstance(shard, str) or Path(shard).name != shard:
            raise FgqError(f"{index}: puts tensor {name} into {shard!r}, which is no file name: copy the folder again")
    return shard_of


def weight_file(folder: Path) -> Path:
    """model.safetensors, else pytorch_model.bin, else the only .safetensors, else the only torch file."""
    for name in (WEIGHTS_FILE, TORCH_WEIGHTS_FILE):
        if (folder / name).is_file():
            return folder / name
    for suffixes in ((".safetensors",), TORCH_SUFFIXES):
        found = sorted(path for path in folder.iterdir() if path.suffix in suffixes and path.is_file())
        if len(found) == 1:
            return found[0]
        if found:
            raise FgqError(f"{folder}: holds {len(found)} weight files and no {INDEX_FILE}: give one file's path")
    raise FgqError(f"{folder}: holds no weights (looked for {INDEX_FILE}, {WEIGHTS_FILE}, *.safetensors, *.pt, *.bin)")


def described(source: str, weights: tuple[Path, ...], folder: Path, index: dict[str, str] | None = None) -> ModelFiles:
    """With config.json and quantization.json of the folder, and where they are not there, as the weights state them."""
    stated = stated_in(weights[0])  # where fgq wrote several, each says the same
    paths = (folder / CONFIG_FILE, folder / QUANTIZATION_FILE)
    config, quantization = (read_json(path) if path.is_file() else stated.get(path.name, {}) for path in paths)
    return ModelFiles(source, weights, config, quantization, stated, index or {})


def stated_in(weights: Path) -> dict[str, dict]:
    """What the header of a file that fgq wrote says of the model; {} for any other, whose faults are found later."""
    if weights.suffix in TORCH_SUFFIXES:
        return {}
    try:
        metadata = read_metadata(weights)
    except DamagedFile:
        raise
    except FgqError:
        return {}
    names = [name for name in (CONFIG_FILE, QUANTIZATION_FILE, BASE) if name in metadata and CHECKSUMS in metadata]
    return {name: parse_json(metadata[name], f"{weights}: its {name}") for name in names}


def read_json(path: Path) -> dict:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FgqError(f"{path}: not readable as JSON ({reason(error)}): copy or make it again") from error
    return parse_json(text, str(path))


def parse_json(text: str, source: str) -> dict:
    """Raises FgqError for anything but an object; also for numbers and nesting that Python refuses."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FgqError(f"{source}: not readable as JSON ({reason(error)}): copy or make it again") from error
    if not isinstance(content, dict):
        raise FgqError(f"{source}: holds a {type(content).__name__}, not a JSON object: copy or make it again")
    return content
