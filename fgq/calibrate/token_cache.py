"""Where the calibration clips' tokens lie between blocks: in memory while they fit a budget, else on disk."""

import os
import tempfile
import threading
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from fgq.calibrate.recipe import RecipeError

Clips = Float[Tensor, "clips frames tokens channels"]
Shape = tuple[int, int, int, int]

BUDGET = 4 * 2**30  # bytes; 64 clips of 4 frames of VGGT-1B at 518 × 518 need 2.9e9 in float32
DISK_DTYPE = torch.bfloat16


class DiskClips:
    """Clips [clips, frames, tokens, channels] in bfloat16 in a file without a name, which ends with this object.

    Reads and writes like a tensor along its first axis: `clips[2:4]` is a tensor on `device`, and `clips[2:4] = …`
    converts. Only what is asked for is in memory. Raises RecipeError, with the folder's name, where the folder cannot
    be written, its disk is full, or the file cannot be read.
    """

    dtype = DISK_DTYPE

    def __init__(self, shape: Shape, device: torch.device, folder: Path | None = None):
        self.shape, self.device = torch.Size(shape), device
        self.folder = Path(tempfile.gettempdir()) if folder is None else Path(folder)
        self.clip_bytes = self.shape[1:].numel() * self.dtype.itemsize
        self.lock = threading.Lock()  # a file has one position, and threads may read different blocks' clips
        try:
            self.file = tempfile.TemporaryFile(dir=self.folder, buffering=0)
            if hasattr(os, "posix_fallocate"):  # a full disk shows now, not after hours
                os.posix_fallocate(self.file.fileno(), 0, len(self) * self.clip_bytes)
        except OSError as error:
            raise self.unwritable(error) from error

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, clips: slice) -> Clips:
        start, stop, _ = clips.indices(len(self))
        found = torch.empty(max(0, stop - start), *self.shape[1:], dtype=self.dtype)
        wanted = memoryview(found.view(torch.uint8).numpy().reshape(-1))
        try:
            with self.lock:
                self.file.seek(start * self.clip_bytes)
                while wanted:
                    count = self.file.readinto(wanted)
                    if not count:
                        raise OSError("it ends too early")
                    wanted = wanted[count:]
        except (OSError, ValueError) as error:
            raise RecipeError(
                f"cache_dir {self.folder}: the token cache there cannot be read ({error}): quantize again with another "
                "cache_dir, or with a cache_budget that keeps the tokens in memory"
            ) from error
        return found.to(self.device)

    def __setitem__(self, clips: slice, values: Clips) -> None:
        start, _, _ = clips.indices(len(self))
        data = values.detach().to("cpu", self.dtype).contiguous()
        left = memoryview(data.view(torch.uint8).numpy().reshape(-1))
        try:
            with self.lock:
                self.file.seek(start * self.clip_bytes)
                while left:
                    left = left[self.file.write(left) :]
        except OSError as error:
            raise self.unwritable(error) from error

    def unwritable(self, error: OSError) -> RecipeError:
        size = f"{len(self) * self.clip_bytes / 1e9:.2f} GB"
        return RecipeError(
            f"cache_dir {self.folder}: no token cache of {size} can be written there "
            f"({error.strerror or error}): choose another folder, raise cache_budget, or take fewer scenes"
        )


def empty_clips(
    shape: Shape, dtype: torch.dtype, device: torch.device, caches: int, budget: int, folder: Path | None = None
) -> Clips | DiskClips:
    """Room for one set of clips of which `caches` live at a time: a tensor if they all fit `budget` bytes.

    All or none, so that a run's precision does not change from block to block.
    """
    if budget < 0:
        raise RecipeError(f"cache_budget is {budget} bytes; it cannot be negative (0 keeps all tokens on disk)")
    if caches * torch.Size(shape).numel() * dtype.itemsize <= budget:
        return torch.empty(shape, dtype=dtype, device=device)
    return DiskClips(shape, device, folder)


def empty_like(clips: Clips | DiskClips) -> Clips | DiskClips:
    if isinstance(clips, DiskClips):
        return DiskClips(clips.shape, clips.device, clips.folder)
    return torch.empty_like(clips)
