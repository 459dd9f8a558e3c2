"""What a forward pass will take: its largest set of live tensors and its operations, found without computing."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from fgq.vggt import VGGT

# torch counts the fused attention kernels of GPUs, not the CPU's.
CPU_ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v)
}


@dataclass(frozen=True)
class Forecast:
    """Of one forward pass: bytes of weights, bytes of everything else that is alive at its peak, and operations."""

    weight_bytes: int
    activation_bytes: int
    block_operations: int  # multiplications and additions of matrix products and attention: the transformer blocks
    convolution_operations: int  # the same of convolutions: the dense heads


class LiveBytes(TorchDispatchMode):
    """Adds up the storages that operations inside make, for as long as anything holds them; `peak` in bytes.

    What a kernel allocates and frees within one operation is not seen. `known` storages (the weights) do not count.
    """

    def __init__(self, known: Iterable[Tensor] = ()):
        super().__init__()
        self.known = {tensor.untyped_storage()._cdata for tensor in known}
        self.alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        # What ended before this operation is gone by now; its inputs and its result are alive together.
        self.alive = {key: entry for key, entry in self.alive.items() if not entry[0].expired()}
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self.known:
                    self.alive[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self.peak = max(self.peak, sum(size for _, size in self.alive.values()))
        return result


def forecast(
    model: VGGT,
    frames: int,
    height: int,
    width: int,
    dtype: torch.dtype | None = None,
    device: str = "cpu",
    **options: Any,
) -> Forecast:
    """Walks the model's own forward pass on tensors without values, one clip of `frames` images.

    `model` is used up: give one of its own, without storage (on "meta"). Floating-point weights count in `dtype`, in
    their own where None; `options` are those of the model's forward pass. Workspaces inside kernels and memory that the
    allocator keeps come on top: on a CPU some 0.1 GB for a small model and 0.3 GB for VGGT-1B (2 frames of 518 × 392
    pixels), there within a tenth of the peak. Raises FgqError for image sizes that the model cannot take.
    """
    if dtype is not None:
        model.to(dtype)
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        model = model.to_empty(device=device).eval().requires_grad_(False)
        weights = list(model.state_dict().values())
        counter = FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION)
        with counter, LiveBytes(weights) as live:
            model(torch.empty(frames, 3, height, width, device=device), **options)
        convolutions = counter.get_flop_counts()["Global"].get(torch.ops.aten.convolution, 0)
        blocks = counter.get_total_flops() - convolutions
        return Forecast(sum(tensor.nbytes for tensor in weights), live.peak, blocks, convolutions)
