"""Tensors in files: aligned in memory when they are read, with checksums, written whole or not at all.

Data from a file may lie at any address, and some processors' matrix products sum in another order for data that is not
aligned to 64 bytes. Everything that is read comes through `aligned`, so that a loaded model computes, on one machine
with one number of threads, the bits of the one that was saved.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fgq.errors import FgqError
from fgq.writing import reason, whole_file

ALIGNMENT = 64  # bytes: what torch's own allocator gives, and a line of the cache
CHECKSUMS = "checksums"  # in a file's metadata: JSON of the first digits of SHA-256, by tensor
ABOUT_CHECKSUM = "about_checksum"  # of all other metadata
DIGITS = 16


class DamagedFile(FgqError):
    """A file whose content is not what was written."""


def aligned(tensor: Tensor) -> Tensor:
    """The tensor itself where its data is aligned to 64 bytes, else a copy that is."""
    return tensor if tensor.data_ptr() % ALIGNMENT == 0 else tensor.clone(memory_format=torch.contiguous_format)


def checksum(tensor: Tensor) -> str:
    """Of its bytes; equal on any device."""
    flat = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
    return hashlib.sha256(flat.numpy()).hexdigest()[:DIGITS]


def about_checksum(metadata: Mapping[str, str]) -> str:
    told = sorted((name, value) for name, value in metadata.items() if name != ABOUT_CHECKSUM)
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:DIGITS]


def save_tensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], what: str = "the file"
) -> None:
    """One safetensors file with checksums of every tensor and of the metadata. Raises FgqError as `whole_file`."""
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    about = dict(metadata) | {CHECKSUMS: json.dumps({name: checksum(tensor) for name, tensor in held.items()})}
    with whole_file(path, what) as part:
        save_file(held, part, metadata=about | {ABOUT_CHECKSUM: about_checksum(about)})


def read_metadata(path: str | Path) -> dict[str, str]:
    """Of a safetensors file, checked where it has a checksum. Raises FgqError, DamagedFile where it differs."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except (OSError, SafetensorError, ValueError) as error:
        raise FgqError(
            f"{path}: not a whole safetensors file ({reason(error)}): copy, download or make it again"
        ) from error
    if ABOUT_CHECKSUM in metadata and metadata[ABOUT_CHECKSUM] != about_checksum(metadata):
        raise DamagedFile(f"{path}: its header is not as it was written (checksum): copy or make it again")
    return metadata


def known_checksums(path: str | Path, metadata: Mapping[str, str]) -> dict[str, str]:
    """By tensor; {} for a file that has none."""
    try:
        found = json.loads(metadata.get(CHECKSUMS, "{}"))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise DamagedFile(f"{path}: its checksums cannot be read: copy or make it again")
    return found


def check_tensor(path: str | Path, name: str, tensor: Tensor, checksums: Mapping[str, str]) -> None:
    """Raises DamagedFile for a tensor that is not as it was written; says nothing of one without a checksum."""
    if name in checksums and checksum(tensor) != checksums[name]:
        raise DamagedFile(f"{path}: tensor {name} is not as it was written (checksum): copy or make the file again")


def read_tensors(path: str | Path, names: Collection[str] | None = None) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors of a safetensors file, or those of `names` that it has, aligned copies; and its metadata.

    Raises FgqError for a file that is none, DamagedFile for one that is not as it was written.
    """
    metadata = read_metadata(path)
    checksums = known_checksums(path, metadata)
    try:
        with safe_open(path, "pt") as file:
            wanted = [name for name in file.keys() if names is None or name in names]
            tensors = {name: file.get_tensor(name).clone() for name in wanted}
    except (OSError, SafetensorError, ValueError) as error:
        raise FgqError(f"{path}: not a whole safetensors file ({reason(error)}): copy or make it again") from error
    for name, tensor in tensors.items():
        check_tensor(path, name, tensor, checksums)
    return tensors, metadata
