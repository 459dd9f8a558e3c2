"""How many frames fit: the memory of a clip as two lines over its frames, and the largest clip below what is free."""

from dataclasses import dataclass
from itertools import pairwise

import psutil
import torch
from torch import nn
from torch._subclasses import FakeTensorMode

from fgq.errors import FgqError
from fgq.memory.forward import LiveBytes
from fgq.vggt import VGGT
from fgq.vggt.aggregator import TOKENS_AT_A_TIME
from fgq.vggt.config import VGGTConfig

# What comes on top of the tensors: of a process an interpreter with torch and the workspaces of convolutions, and a
# share that allocators keep. At VGGT-1B's width, 4 layers deep, float32, one thread of a CPU, activations in MB:
#
#     frames, side    at a time    measured    tensors
#      1, 112 px         1             65          13
#     10, 112 px        10            232         134
#     10, 112 px         2            174          49
#      4, 224 px         4            417         210
#      4, 224 px         1            225          85
#     10, 224 px        10            750         524
#     10, 224 px         2            422         191
#
# so that 1.1 times the tensors and 0.25 GB cover all of them.
SLACK = 1.1
PROCESS_BYTES = 25 * 10**7 + 35 * 10**7  # workspaces, interpreter
MOST_FRAMES = 100_000


@dataclass(frozen=True)
class Phases:
    """Most bytes alive at once, beside the weights, while the blocks run and while the heads do."""

    blocks: int
    heads: int

    @property
    def bytes(self) -> int:
        return max(self.blocks, self.heads)


@dataclass(frozen=True)
class Limit:
    """The largest number of frames of a clip that fits into `free_bytes`; 0 where not even one does."""

    device: str
    free_bytes: int
    weight_bytes: int
    frames: int
    frame_bytes: float  # that one frame more takes, in a clip of many


def shallow(model: VGGT) -> VGGT:
    """`model`, used up, with those layers alone that the heads read and a single block elsewhere.

    A forward pass holds as much as before at its peak, which is in the last layer or in the heads: what lies between
    is let go of.
    """
    read = sorted({*model.config.dpt_layers, model.config.depth - 1})
    aggregator, config = model.aggregator, VGGTConfig.from_dict(model.config.to_dict())
    config.depth, config.dpt_layers = len(read), [read.index(layer) for layer in model.config.dpt_layers]
    model.config = aggregator.config = config
    aggregator.frame_blocks = nn.ModuleList(aggregator.frame_blocks[layer] for layer in read)
    aggregator.global_blocks = nn.ModuleList(aggregator.global_blocks[layer] for layer in read)
    aggregator.patch_embed.blocks = aggregator.patch_embed.blocks[:1]
    model.camera_head.trunk = model.camera_head.trunk[:1]
    return model


class Clips:
    """The memory of clips of any number of frames of height × width pixels. `model` is used up, and without storage.

    Numbers of frames that are looked at are walked through on tensors without values, which takes a second or so.
    Raises FgqError for image sizes that the model cannot take.
    """

    def __init__(self, model: VGGT, height: int, width: int, device: str = "cpu"):
        self.weight_bytes = sum(tensor.nbytes for tensor in model.state_dict().values())
        self.height, self.width, self.device = height, width, device
        self.mode = FakeTensorMode(allow_non_fake_inputs=True)
        with self.mode, torch.no_grad():
            self.model = shallow(model).to_empty(device=device).eval().requires_grad_(False)
        self.known: dict[tuple[int, int | None], Phases] = {}

    def phases(self, frames: int, frames_chunk: int | None = None) -> Phases:
        """Of one clip; `frames_chunk` as in the model's forward pass."""
        asked = frames, frames_chunk
        if asked not in self.known:
            peaks = []
            with self.mode, torch.no_grad(), LiveBytes(self.model.state_dict().values()) as live:

                def blocks_are_done(*_) -> None:
                    peaks.append(live.peak)
                    live.peak = 0

                hook = self.model.camera_head.register_forward_pre_hook(blocks_are_done)
                try:
                    images = torch.empty(frames, 3, self.height, self.width, device=self.device)
                    self.model(images, frames_chunk=frames_chunk)
                finally:
                    hook.remove()
            self.known[asked] = Phases(peaks[0], live.peak)
        return self.known[asked]

    @property
    def chunk(self) -> int:
        """Frames that blocks run on at a time, where nothing else is said."""
        config = self.model.config
        patches = (self.height // config.patch_size) * (self.width // config.patch_size)
        return max(1, TOKENS_AT_A_TIME // (config.num_special_tokens + patches))

    def many(self, frames: int) -> Phases:
        """Of a clip of more than two chunks, by the lines through two and three whole ones."""
        few, more = (self.phases(count * self.chunk) for count in (2, 3))
        steps = (frames - 2 * self.chunk) / self.chunk
        return Phases(*(round(a + steps * (b - a)) for a, b in ((few.blocks, more.blocks), (few.heads, more.heads))))

    def bytes(self, frames: int) -> int:
        """All that a process takes for a clip of so many frames, weights included."""
        found = self.phases(frames) if frames <= 2 * self.chunk else self.many(frames)
        return self.weight_bytes + round(SLACK * found.bytes)

    def limit(self, free_bytes: int) -> Limit:
        """The largest clip whose weights and tensors take no more than so many bytes."""
        room = free_bytes - PROCESS_BYTES
        low, high = 0, MOST_FRAMES + 1  # the last that fits, the first that does not
        marks = sorted({1, 2 * self.chunk, *(4**power for power in range(1, 9))})
        for below, above in pairwise((0, *marks, MOST_FRAMES + 1)):
            if above > MOST_FRAMES or self.bytes(above) > room:
                low, high = below, above
                break
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.bytes(middle) <= room else (low, middle)
        frame_bytes = (self.bytes(2 * MOST_FRAMES) - self.bytes(MOST_FRAMES)) / MOST_FRAMES
        return Limit(self.device, free_bytes, self.weight_bytes, low, frame_bytes)


def free_bytes(device: str) -> int:
    """Of memory that a process can have now: the host's, or a GPU's. Raises FgqError for a device that cannot tell."""
    kind = torch.device(device).type
    if kind == "cpu":
        return psutil.virtual_memory().available
    if kind == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    raise FgqError(f"how much memory is free on {device} is not known: choose cpu or cuda")
