"""How long a forward pass will take here: its operations over the speed of one block and one convolution, timed now."""

import copy
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from fgq.memory.forward import CPU_ATTENTION, Forecast
from fgq.memory.peak import synchronize
from fgq.vggt import VGGT, VGGTConfig
from fgq.vggt.aggregator import FrameLayout, run_block
from fgq.vggt.attention import Block

TIMED_SECONDS = 0.3  # of each of the two
MOST_PATCHES = 64  # along a side of what is timed: more take longer and are no faster
VALUE = 0.01  # of every weight in a timed block: what is multiplied does not matter, as long as it is finite


@torch.no_grad()
def predict_seconds(model: VGGT, expected: Forecast, height: int, width: int, dtype: torch.dtype, device: str) -> float:
    """Of one forward pass on this machine as it is now; `model` may be on "meta".

    Times a frame block on one frame's tokens and a convolution of the dense heads' size. What neither holds (resizing,
    the attention of many frames) makes it a matter of a factor of two, and other programs of more.
    """
    block, tokens, layout = timed_block(model, height, width, dtype, device)
    block_speed = operations_per_second(lambda: run_block(block, "F0", tokens, layout), device)
    return expected.block_operations / block_speed + expected.convolution_operations / convolution_speed(
        model.config, height, width, dtype, device
    )


def timed_block(
    model: VGGT, height: int, width: int, dtype: torch.dtype, device: str, frames: int = 1
) -> tuple[Block, Tensor, FrameLayout]:
    """A frame block with values, tokens of so many frames for it, and their layout."""
    rows, columns = (min(side // model.config.patch_size, MOST_PATCHES) for side in (height, width))
    layout = FrameLayout(1, frames, rows, columns, model.config, device)
    block = copy.deepcopy(model.aggregator.frame_blocks[0]).to_empty(device=device).eval()
    with torch.no_grad():
        for tensor in block.state_dict().values():
            tensor.fill_(VALUE if tensor.is_floating_point() else 1)
    tokens = torch.ones(frames, model.config.num_special_tokens + rows * columns, model.config.embed_dim)
    return block.to(dtype), tokens.to(device, dtype), layout


@torch.no_grad()
def convolution_speed(config: VGGTConfig, height: int, width: int, dtype: torch.dtype, device: str) -> float:
    """Operations a second of a convolution of the dense heads' size."""
    rows, columns = (min(side // config.patch_size, MOST_PATCHES) for side in (height, width))
    features = config.dpt_features
    convolution = nn.Conv2d(features, features, 3, padding=1).to(device, dtype)
    maps = torch.ones(1, features, 4 * rows, 4 * columns).to(device, dtype)
    return operations_per_second(lambda: convolution(maps), device)


def operations_per_second(run: Callable[[], object], device: str) -> float:
    with FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION) as counter:
        run()  # the first call prepares the kernels too
    synchronize(device)
    fastest, start = float("inf"), time.perf_counter()
    while time.perf_counter() - start < TIMED_SECONDS:
        began = time.perf_counter()
        run()
        synchronize(device)
        fastest = min(fastest, time.perf_counter() - began)  # other programs only ever make a round slower
    return counter.get_total_flops() / fastest
