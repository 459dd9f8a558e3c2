"""What is in weight files: first names and shapes alone, then the values, mapped from the disk, tensor by tensor."""

import pickle
import re
import zipfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from fgq.checkpoint.files import TORCH_SUFFIXES, ModelFiles
from fgq.errors import FgqError
from fgq.tensor_files import Contents, Verifier, checksum
from fgq.writing import reason

NOT_WEIGHTS = {
    b"<": "a web page, not weights: download the file again, logged in where the site asks for it",
    b"version https://git-lfs": "only a pointer to the weights: fetch the real file (git lfs pull)",
}
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# Pages of a mapped file count as resident until the mapping goes: after so many copied bytes the file is mapped anew.
COPIED_PER_MAPPING = 64 << 20


def list_tensors(files: ModelFiles) -> dict[str, Tensor]:
    """Every tensor's name, shape and type, as tensors without storage; values are not read.

    Raises FgqError for a file that is no weights, is cut short, repeats a name or lacks what the index says it holds.
    """
    listing: dict[str, Tensor] = {}
    for path in files.weights:
        found = {name: tensor.to("meta") for name, tensor in map_tensors(path).items()}
        repeated = listing.keys() & found.keys()
        if repeated:
            raise FgqError(f"{path}: tensor {min(repeated)} is in another shard too: copy the whole folder again")
        promised = [name for name, shard in files.index.items() if shard == path.name and name not in found]
        if promised:
            raise FgqError(
                f"{path}: holds {len(found)} tensors, but not {promised[0]} (of {len(promised)} that the index says "
                "are in it): copy the whole folder again"
            )
        listing |= found
    return listing


def stream_tensors(
    files: ModelFiles, change: Callable[[Tensor], Tensor], left_out: Collection[str] = (), verify: bool = True
) -> Iterator[tuple[str, Tensor]]:
    """Every tensor by name, as `change` returns it; a tensor that it returns as it came stays mapped from the file.

    Raises DamagedFile, with `verify`, for one that does not have the checksum in its file, where there is one.

    Whatever `change` copies is let go of soon, so that the original and the copy are never both in memory as a whole.
    """
    for path in files.weights:
        mapped, copied = map_tensors(path), 0
        verifier = Verifier(path) if verify and path.suffix not in TORCH_SUFFIXES else None
        for name in [name for name in mapped if name not in left_out]:
            tensor = mapped.pop(name)
            if verifier is not None:
                verifier.check(name)
            changed = change(tensor)
            if changed is not tensor:
                copied += tensor.nbytes
            yield name, changed
            if copied > COPIED_PER_MAPPING and mapped:
                remaining, copied = list(mapped), 0
                del mapped, tensor, changed
                again = map_tensors(path)
                mapped = {name: again[name] for name in remaining}
                del again


def tensor_checksums(files: ModelFiles, names: Collection[str]) -> Iterator[tuple[str, str]]:
    """By name, the checksums of those tensors that the files hold, without keeping them in memory."""
    for path in files.weights:
        if path.suffix in TORCH_SUFFIXES:
            yield from ((name, checksum(tensor)) for name, tensor in map_torch(path).items() if name in names)
        else:
            contents = Contents(path)
            yield from ((name, contents.checksum(name)) for name in sorted(contents.places) if name in names)


def map_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of one file on the CPU; values are read from the disk where they are looked at."""
    check_start(path)
    return map_torch(path) if path.suffix in TORCH_SUFFIXES else map_safetensors(path)


def check_start(path: Path) -> None:
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        raise FgqError(f"{path}: cannot be read ({reason(error)}): check the path and its permissions") from error
    if not start:
        raise FgqError(f"{path}: is empty: copy or download it again")
    start = start.removeprefix(BYTE_ORDER_MARK).lstrip()
    for mark, what in NOT_WEIGHTS.items():
        if start.startswith(mark):
            raise FgqError(f"{path}: {what}")


def map_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError, ValueError) as error:
        raise FgqError(f"{path}: not a whole safetensors file ({reason(error)}): copy or download it again") from error


def map_torch(path: Path) -> dict[str, Tensor]:
    """Only files in torch's zip format (all since torch 1.6) can be mapped; older ones are read."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # bytes that are no torch file make its unpickler fail in every possible way
        refused = re.search(r"GLOBAL ([\w.]+) (?:was not an allowed|whose module)", str(error))
        if isinstance(error, pickle.UnpicklingError) and refused:
            raise FgqError(
                f"{path}: holds Python objects ({refused[1]}), which fgq never runs: save its state_dict() alone"
            ) from error
        cause = str(error).split("\n")[0].split(". ")[0] or type(error).__name__
        raise FgqError(f"{path}: not a whole torch file of tensors ({cause}): copy or download it again") from error
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        content = content["model"]  # as training scripts save it
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise FgqError(f"{path}: holds no dictionary of tensors: save the model's state_dict()")
    return content
