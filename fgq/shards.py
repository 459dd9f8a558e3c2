"""Tensors in several files with an index: complete or refused, and exchanged for older ones in one step.

A shard's name holds digits of what all shards hold, so that new ones never lie where old ones do. Until the new index
has its place, which is one step, the old files are the model; and the index knows each shard's checksum of checksums.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor

from fgq.errors import FgqError
from fgq.tensor_files import ABOUT_CHECKSUM, DamagedFile, read_metadata, with_checksums, write_tensors
from fgq.writing import whole_file, write_json

SHARDS = "shards"  # in the metadata of an index: the checksum of each shard's header
OWN_NAME = re.compile(r"model-[0-9a-f]{8}-\d{5}-of-\d{5}\.safetensors")
LIMIT = 4 * 10**9  # bytes of a file; some file systems and web servers stop at 4 GB


def save_shards(
    index: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], limit: int, what: str = "the file"
) -> None:
    """Shards beside `index` and then the index itself, as transformers reads them too.

    Each holds at most `limit` bytes of tensors, or one larger tensor, and all the metadata. Raises FgqError as
    `whole_file`.
    """
    parts = list(split(tensors, limit))
    headers = [with_checksums(part, metadata) for part in parts]
    digest = hashlib.sha256(json.dumps([header[ABOUT_CHECKSUM] for header in headers]).encode()).hexdigest()[:8]
    weight_map, checksums = {}, {}
    for number, (part, header) in enumerate(zip(parts, headers, strict=True), 1):
        name = f"model-{digest}-{number:05d}-of-{len(parts):05d}.safetensors"
        with whole_file(index.with_name(name), what) as path:
            write_tensors(path, part, header)
        weight_map |= dict.fromkeys(part, name)
        checksums[name] = header[ABOUT_CHECKSUM]
    total = sum(tensor.nbytes for tensor in tensors.values())
    about = {"total_size": total, SHARDS: checksums}
    write_json(index, {"metadata": about, "weight_map": dict(sorted(weight_map.items()))}, what)


def split(tensors: Mapping[str, Tensor], limit: int) -> Iterator[dict[str, Tensor]]:
    """In the order of names. Raises FgqError for a limit of no bytes."""
    if limit < 1:
        raise FgqError(f"files of at most {limit} bytes: give at least one")
    part, size = {}, 0
    for name, tensor in sorted(tensors.items()):
        if part and size + tensor.nbytes > limit:
            yield part
            part, size = {}, 0
        part[name] = tensor
        size += tensor.nbytes
    yield part


def own_shards(index: Path) -> dict[str, str]:
    """Checksum of each shard's header by its name, of an index that `save_shards` wrote; {} for any other, or none."""
    try:
        found = json.loads(index.read_text(encoding="utf-8"))["metadata"][SHARDS]
        return {str(name): str(checksum) for name, checksum in found.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}


def check_shards(index: Path) -> None:
    """Raises DamagedFile for a shard of another save than its index, FgqError for one that is cut short."""
    for name, checksum in own_shards(index).items():
        path = index.with_name(name)
        if read_metadata(path).get(ABOUT_CHECKSUM) != checksum:
            raise DamagedFile(f"{path}: is not the file that {index.name} means (checksum): copy the folder again")


def forget_shards(folder: Path) -> None:
    """Removes shards that `save_shards` wrote and that no index in the folder names any more."""
    kept = {name for index in folder.glob("*.index.json") for name in own_shards(index)}
    for path in folder.glob("model-*.safetensors"):
        if OWN_NAME.fullmatch(path.name) and path.name not in kept:
            path.unlink(missing_ok=True)
