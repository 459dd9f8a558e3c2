"""Tensors in files: aligned in memory when they are read, with checksums, written whole or not at all.

"The same bits" is three promises, and every test says which one it means. Files, codes and scales are equal: always, in
any order, with any number of workers, after any stop. Outputs are equal to the bit: on one machine with as many
threads, of tensors aligned to 64 bytes. Results agree within a stated tolerance: on other CPUs, with other numbers of
threads, on a GPU. For the first, equal content makes an equal file here; for the second, everything that is read comes
through `aligned`, because some processors' matrix products sum in another order for data that lies at odd addresses.
"""

import hashlib
import json
import struct
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from fgq.errors import FgqError
from fgq.writing import refusing, whole_file

ALIGNMENT = 64  # bytes: what torch's own allocator gives, and a line of the cache
CHECKSUMS = "checksums"  # in a file's metadata: JSON of the first digits of SHA-256, by tensor
ABOUT_CHECKSUM = "about_checksum"  # of all other metadata
DIGITS = 16
PIECE = 4 << 20  # bytes, of a file that is only looked at
NOT_WHOLE, AGAIN = "not a whole safetensors file", "copy, download or make it again"
DTYPES = {  # as safetensors calls them
    **{torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"},
    **{torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8"},
    **{torch.uint8: "U8", torch.bool: "BOOL"},
}


class DamagedFile(FgqError):
    """A file whose content is not what was written."""


def aligned(tensor: Tensor) -> Tensor:
    """The tensor itself where its data is aligned to 64 bytes, else a copy that is."""
    return tensor if tensor.data_ptr() % ALIGNMENT == 0 else tensor.clone(memory_format=torch.contiguous_format)


def checksum(tensor: Tensor) -> str:
    """Of its bytes; equal on any device."""
    return hashlib.sha256(bytes_of(tensor)).hexdigest()[:DIGITS]


def bytes_of(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()


def about_checksum(metadata: Mapping[str, str]) -> str:
    told = sorted((name, value) for name, value in metadata.items() if name != ABOUT_CHECKSUM)
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:DIGITS]


def save_tensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], what: str = "the file"
) -> None:
    """One safetensors file with checksums of every tensor and of the metadata. Raises FgqError as `whole_file`."""
    header = with_checksums(tensors, metadata)
    with whole_file(path, what) as part:
        write_tensors(part, tensors, header)


def with_checksums(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> dict[str, str]:
    """The metadata of a file that holds these tensors."""
    checksums = {name: checksum(tensors[name]) for name in sorted(tensors)}
    about = dict(metadata) | {CHECKSUMS: json.dumps(checksums)}
    return about | {ABOUT_CHECKSUM: about_checksum(about)}


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """The safetensors layout, in an order that content alone decides: the library's own writer shuffles the metadata.

    Tensors that fill whole lines of 64 bytes come first and lie aligned, so that they can stay mapped from the file.
    Raises FgqError for a type that is not in DTYPES.
    """

    def place(name: str) -> tuple:
        return tensors[name].nbytes % ALIGNMENT > 0, -tensors[name].element_size(), name

    header, end = {"__metadata__": dict(sorted(metadata.items()))}, 0
    for name in sorted(tensors, key=place):
        tensor = tensors[name]
        if tensor.dtype not in DTYPES:
            raise FgqError(f"tensor {name} is of type {tensor.dtype}, which is not saved: convert the model first")
        offsets = [end, end + tensor.nbytes]
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets}
        end += tensor.nbytes
    with path.open("wb") as file:
        file.write(packed_header(json.dumps(header, separators=(",", ":"))))
        for name in sorted(tensors, key=place):
            file.write(bytes_of(tensors[name]))


def packed_header(text: str) -> bytes:
    """As a safetensors file begins: its length, then the text, filled up so that the first tensor lies aligned."""
    told = text.encode()
    told += b" " * (-(8 + len(told)) % ALIGNMENT)
    return struct.pack("<Q", len(told)) + told


@contextmanager
def opened(path: str | Path) -> Iterator[safe_open]:
    """A safetensors file, mapped. Raises FgqError for what is none, and for one that is cut short."""
    with refusing(path, NOT_WHOLE, AGAIN, (OSError, SafetensorError, ValueError)), safe_open(path, "pt") as file:
        yield file


def read_metadata(path: str | Path) -> dict[str, str]:
    """Of a safetensors file, checked where it has a checksum. Raises FgqError, DamagedFile where it differs."""
    with opened(path) as file:
        metadata = file.metadata() or {}
    if metadata.keys() & {CHECKSUMS, ABOUT_CHECKSUM} and metadata.get(ABOUT_CHECKSUM) != about_checksum(metadata):
        raise DamagedFile(f"{path}: its header is not as it was written (checksum): copy or make it again")
    return metadata


class Contents:
    """Where the tensors of a safetensors file lie.

    Their bytes are read a piece at a time, not mapped: looking at them fills no memory, and what is mapped stays
    untouched. Raises FgqError for what is no safetensors file, and for one that is cut short.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        with opened(path), self.path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
        self.places = {name: entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"}
        self.start = 8 + length

    def checksum(self, name: str) -> str:
        """As `checksum` of the tensor."""
        start, end = self.places[name]
        digest = hashlib.sha256()
        with self.path.open("rb") as file:
            file.seek(self.start + start)
            for place in range(start, end, PIECE):
                digest.update(file.read(min(PIECE, end - place)))
        return digest.hexdigest()[:DIGITS]


class Verifier:
    """Compares the tensors of a file with their checksums; finds nothing wrong with a file that has none.

    Raises DamagedFile for a header that is not as it was written, and FgqError for what is no safetensors file.
    """

    def __init__(self, path: str | Path):
        self.path, metadata = Path(path), read_metadata(path)
        try:
            self.checksums = dict(json.loads(metadata.get(CHECKSUMS, "{}")))
        except (ValueError, TypeError, RecursionError) as error:
            raise DamagedFile(f"{path}: its checksums cannot be read: copy or make it again") from error
        if self.checksums:
            self.contents = Contents(path)
            if self.contents.places.keys() != self.checksums.keys():
                raise DamagedFile(f"{path}: its tensors' names are not as they were written: copy or make it again")

    def check(self, name: str) -> None:
        """Raises DamagedFile for a tensor that is not as it was written."""
        if name in self.checksums and self.contents.checksum(name) != self.checksums[name]:
            raise DamagedFile(f"{self.path}: tensor {name} is not as it was written (checksum): copy or make it again")


def read_tensors(path: str | Path, names: Collection[str] | None = None) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors of a safetensors file, or those of `names` that it has, aligned copies; and its metadata.

    Raises FgqError for a file that is none, DamagedFile for one that is not as it was written.
    """
    verifier = Verifier(path)
    with opened(path) as file:
        metadata = file.metadata() or {}
        wanted = [name for name in file.keys() if names is None or name in names]
        tensors = {name: file.get_tensor(name).clone() for name in wanted}
    for name in tensors:
        verifier.check(name)
    return tensors, metadata
