"""What loading a model and its first forward pass really take: measured in a process of their own."""

import time
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

import torch

from fgq.checkpoint import load_model
from fgq.errors import FgqError
from fgq.memory.peak import peak_bytes, synchronize
from fgq.processes import process_pool


@dataclass(frozen=True)
class Measured:
    """Bytes and seconds. On a GPU all bytes are the GPU's, as torch's allocator counts them.

    On a CPU they are resident memory: `process_bytes` of the interpreter with its libraries before the model came, and
    `peak_bytes` the highest since (VmHWM on Linux, where pages mapped from the weight file count as well).
    """

    process_bytes: int
    weight_bytes: int  # of the model's tensors
    peak_bytes: int
    load_seconds: float
    forward_seconds: float  # of the first pass, so reading what is still mapped is a part of it

    @property
    def activation_bytes(self) -> int:
        """What the peak holds beyond the process and the weights."""
        return self.peak_bytes - self.process_bytes - self.weight_bytes


def measure(
    name: str, frames: int, height: int, width: int, dtype: torch.dtype | None = None, device: str = "cpu", **hub
) -> Measured:
    """Loads a model as `load_model` does (`hub`: its options) and predicts one clip of random images.

    In a fresh process with as many threads as this one, since a process keeps what it once took. Raises FgqError for
    what `load_model` and the model refuse, and where the process is killed for want of memory.
    """
    with process_pool(1) as executor:
        job = executor.submit(measure_here, name, (frames, 3, height, width), dtype, device, hub)
        try:
            return job.result()
        except BrokenProcessPool as error:
            raise FgqError(
                f"{name}: the measuring process was killed, most likely for want of memory: fewer frames, smaller "
                "images or dtype bfloat16 take less"
            ) from error


def measure_here(name: str, shape: tuple[int, ...], dtype: torch.dtype | None, device: str, hub: dict) -> Measured:
    process_bytes = peak_bytes(device)
    start = time.perf_counter()
    model = load_model(name, device, dtype, **hub)
    synchronize(device)
    loaded = time.perf_counter()
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(device)
    with torch.no_grad():
        model(images)
    synchronize(device)
    finished = time.perf_counter()
    weight_bytes = sum(tensor.nbytes for tensor in model.state_dict().values())
    return Measured(process_bytes, weight_bytes, peak_bytes(device), loaded - start, finished - loaded)
