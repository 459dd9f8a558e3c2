"""Files whose tensors lie at odd addresses, as they may on any machine."""

import os

import torch
from safetensors import safe_open

ALIGNED = 64


def misaligned(tensor: torch.Tensor, offset: int) -> torch.Tensor:
    """A copy whose data starts `offset` bytes behind a multiple of 64."""
    raw = torch.empty(tensor.nbytes + 2 * ALIGNED, dtype=torch.uint8)
    start = -raw.data_ptr() % ALIGNED + offset
    copy = raw[start : start + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
    return copy.copy_(tensor)


class MisalignedFile:
    """`safetensors.safe_open`, whose tensors lie FGQ_TEST_MISALIGNED bytes (40 unless told) off an aligned address."""

    def __init__(self, *arguments, **options):
        self.file = safe_open(*arguments, **options)
        self.offset = int(os.environ.get("FGQ_TEST_MISALIGNED", 40))

    def __enter__(self):
        self.file.__enter__()
        return self

    def __exit__(self, *error):
        return self.file.__exit__(*error)

    def keys(self):
        return self.file.keys()

    def metadata(self):
        return self.file.metadata()

    def get_tensor(self, name: str) -> torch.Tensor:
        tensor = self.file.get_tensor(name)
        return misaligned(tensor, self.offset) if tensor.numel() else tensor

    def get_tensors(self) -> dict[str, torch.Tensor]:
        return {name: self.get_tensor(name) for name in self.keys()}

    def get_slice(self, name: str):
        return self.file.get_slice(name)
