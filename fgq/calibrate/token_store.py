"""Where the tokens of the calibration scenes are kept: in memory, or beyond a budget of bytes in files."""

import contextlib
import os
import tempfile
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from fgq.errors import FgqError

TOKEN_BUDGET = 4 << 30  # bytes of memory for tokens, unless the caller says otherwise


class TokenStore:
    """Makes the large tensors of a calibration. With a `folder`, they are files that the system maps and writes out.

    A file has no name once it is open, so it is gone when its tensor is, also after a kill. Files hold their full size
    from the start: a disk that is too small is found out here, with an FgqError, and not in the middle of a write.
    """

    def __init__(self, folder: str | Path | None = None):
        self.folder = None if folder is None else Path(folder)

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Uninitialised, on the CPU where it is a file."""
        if self.folder is None:
            return torch.empty(shape, dtype=dtype)
        size = prod(shape) * dtype.itemsize
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(suffix=".tokens", dir=self.folder)
            try:
                os.posix_fallocate(descriptor, 0, max(size, 1))
                return torch.from_file(name, shared=True, size=prod(shape), dtype=dtype).view(shape)
            finally:
                os.close(descriptor)
                with contextlib.suppress(OSError):
                    os.unlink(name)
        except (OSError, RuntimeError) as error:
            raise FgqError(
                f"{self.folder}: no room for {size / 1e9:.2f} GB of tokens ({error}): free some space, choose another "
                "token_dir, calibrate on fewer scenes, or raise token_budget"
            ) from error


def fits(budget: int, tensors: int, shape: tuple[int, ...], dtype: torch.dtype) -> bool:
    """Whether so many tensors of that shape stay within the budget of bytes; FgqError for a negative budget."""
    if budget < 0:
        raise FgqError(f"token_budget is {budget} bytes; give 0 to keep all tokens in files, or more")
    return tensors * prod(shape) * dtype.itemsize <= budget
