"""The shared backbone: special tokens, then frame and global attention in turn."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fgq.errors import FgqError
from fgq.vggt.attention import Assembled, Block
from fgq.vggt.config import BlockName, VGGTConfig
from fgq.vggt.encoder import Encoder
from fgq.vggt.rotary import RotaryTable, patch_positions
from fgq.vggt.token_kinds import special_rows

IMAGE_MEAN = (0.485, 0.456, 0.406)  # ImageNet statistics of RGB in [0, 1], as DINOv2 was trained
IMAGE_STD = (0.229, 0.224, 0.225)

TOKENS_AT_A_TIME = 2**14  # that an encoder or block works on: its layers hold some ten numbers for each channel of one

Images = Float[Tensor, "batch frames 3 height width"]
FrameTokens = Float[Tensor, "all_frames tokens channels"]  # batch * frames
ClipShape = tuple[int, int, int]  # frames of a clip, rows and columns of patches in each


def clip_shape(images: Float[Tensor, "frames 3 height width"], config: VGGTConfig) -> ClipShape:
    frames, _, height, width = images.shape
    return frames, height // config.patch_size, width // config.patch_size


def count_tokens(shape: ClipShape, config: VGGTConfig) -> int:
    """Of a clip, special ones included."""
    frames, rows, columns = shape
    return frames * (config.num_special_tokens + rows * columns)


class Layout(ABC):
    """How the tokens of some clips lie."""

    @abstractmethod
    def arguments(
        self, name: str, tokens: Float[Tensor, "*frames tokens channels"]
    ) -> tuple[Float[Tensor, "batch sequence channels"], RotaryTable]:
        """What the block of that name is called with."""


class FrameLayout(Layout):
    """How the tokens of one input lie: batch, frames, and the rotary tables of a frame and of a clip.

    The tables also say where the special tokens lie: those of a clip, at the start of each of its frames.
    """

    def __init__(self, batch: int, frames: int, rows: int, columns: int, config: VGGTConfig, device=None):
        self.batch, self.frames, self.rows, self.columns = batch, frames, rows, columns
        self.positions = patch_positions(rows, columns, config.num_special_tokens, device)
        self.head_dim, self.num_special = config.embed_dim // config.num_heads, config.num_special_tokens
        self.of_frame, self.of_clip = self.table(1), self.table(frames)

    def table(self, frames: int) -> RotaryTable:
        """Of so many frames of a clip, one after another, whichever they are."""
        special = special_rows(frames, len(self.positions), self.num_special, self.positions.device)
        return RotaryTable(self.positions.repeat(frames, 1), self.head_dim, special=special)

    @property
    def num_frames(self) -> int:
        return self.batch * self.frames

    def arguments(
        self, name: str, tokens: Float[Tensor, "*frames tokens channels"]
    ) -> tuple[Float[Tensor, "batch sequence channels"], RotaryTable]:
        """What the block of that name is called with.

        `tokens` are [batch * frames, tokens, C] or [batch, frames, tokens, C]. A global block lets the tokens of all
        frames of a clip attend to one another.
        """
        if BlockName(name).is_global:
            return tokens.reshape(self.batch, -1, tokens.shape[-1]), self.of_clip
        return tokens.reshape(self.num_frames, -1, tokens.shape[-1]), self.of_frame


class MixedLayout(Layout):
    """Clips of several shapes as one row: their tokens [1, all_tokens, C], clip after clip and frame by frame.

    Tokens attend to those of their own frame or clip, as if each clip ran alone; all else in a block looks at single
    tokens.
    """

    def __init__(self, shapes: Sequence[ClipShape], config: VGGTConfig, device=None):
        positions, special, frame_lengths, start = [], [], [], 0
        for shape in shapes:
            frames, rows, columns = shape
            frame = patch_positions(rows, columns, config.num_special_tokens, device)
            positions.append(frame.repeat(frames, 1))
            special.append(start + special_rows(frames, len(frame), config.num_special_tokens, device))
            frame_lengths += [len(frame)] * frames
            start += count_tokens(shape, config)
        clip_lengths = [count_tokens(shape, config) for shape in shapes]
        head_dim = config.embed_dim // config.num_heads
        table = RotaryTable(torch.cat(positions), head_dim, special=torch.cat(special))
        self.of_frame, self.of_clip = table.apart(frame_lengths), table.apart(clip_lengths)

    def arguments(
        self, name: str, tokens: Float[Tensor, "1 all_tokens channels"]
    ) -> tuple[Float[Tensor, "1 all_tokens channels"], RotaryTable]:
        return tokens, self.of_clip if BlockName(name).is_global else self.of_frame


def run_block(
    block: nn.Module, name: str, tokens: Float[Tensor, "*frames tokens channels"], layout: Layout
) -> Float[Tensor, "*frames tokens channels"]:
    """The block of that name (see `Layout.arguments`)."""
    return block(*layout.arguments(name, tokens)).reshape(tokens.shape)


def run_block_in_parts(
    block: Block, name: str, tokens: FrameTokens, layout: FrameLayout, frames_chunk: int
) -> FrameTokens:
    """`run_block`, so many frames at a time: a frame block runs on them alone, a global one by `run_in_parts`."""
    if not BlockName(name).is_global:
        output = Assembled(len(tokens))
        for part in tokens.split(frames_chunk):
            output.append(block(part, layout.of_frame))
        return output.values
    of_each = max(1, frames_chunk // layout.batch)  # frames of each clip of the batch
    counts = [min(of_each, layout.frames - start) for start in range(0, layout.frames, of_each)]
    tables = {count: layout.table(count) for count in set(counts)}
    sequence, rotary = layout.arguments(name, tokens)
    return block(sequence, rotary, [tables[count] for count in counts]).reshape(tokens.shape)


class Aggregator(nn.Module):
    def __init__(self, config: VGGTConfig):
        super().__init__()
        self.config = config
        dim = config.embed_dim
        # Row 0 belongs to the first frame, whose camera is the world; row 1 to every other frame.
        self.camera_token = nn.Parameter(torch.zeros(1, 2, 1, dim))
        self.register_token = nn.Parameter(torch.zeros(1, 2, config.num_register_tokens, dim))
        self.patch_embed = Encoder(config)
        self.frame_blocks = nn.ModuleList(Block(dim, config.num_heads, qk_norm=True) for _ in range(config.depth))
        self.global_blocks = nn.ModuleList(Block(dim, config.num_heads, qk_norm=True) for _ in range(config.depth))

    def blocks(self) -> Iterator[tuple[BlockName, nn.Module]]:
        """All blocks with their names, in running order: F0, G0, F1, G1, …"""
        for name in self.config.block_names:
            yield name, self.of_kind(name)[name.layer]

    def replace_block(self, name: str, block: nn.Module) -> None:
        """Puts another module where block `name` (such as "G3") was."""
        self.of_kind(BlockName(name))[BlockName(name).layer] = block

    def of_kind(self, name: BlockName) -> nn.ModuleList:
        return self.global_blocks if name.is_global else self.frame_blocks

    def layout(self, images: Images) -> FrameLayout:
        batch, frames, _, height, width = images.shape
        patch = self.config.patch_size
        return FrameLayout(batch, frames, height // patch, width // patch, self.config, images.device)

    def embed(self, images: Images, frames_chunk: int | None = None) -> FrameTokens:
        """Images in [0, 1] to the first block's input: special tokens, then patches.

        They are normalised in their own precision and read in that of the weights. The encoder sees `frames_chunk`
        frames at a time, or all.
        """
        batch, frames = images.shape[:2]
        mean = images.new_tensor(IMAGE_MEAN).view(3, 1, 1)
        std = images.new_tensor(IMAGE_STD).view(3, 1, 1)
        encoded = Assembled(batch * frames)
        for part in images.flatten(0, 1).split(frames_chunk or batch * frames):
            encoded.append(self.patch_embed(((part - mean) / std).to(self.camera_token.dtype)))
        patches = encoded.values
        special = torch.cat([self.camera_token, self.register_token], dim=2)[0].to(patches)  # [2, special, C]
        which = torch.ones(batch, frames, dtype=torch.long, device=images.device)
        which[:, 0] = 0
        return torch.cat([special[which.flatten()], patches], dim=1)

    def outputs(self, images: Images, frames_chunk: int | None = None) -> Iterator[FrameTokens]:
        """The output of each block in running order; none is kept here once the next one is.

        What looks at no other frame runs on `frames_chunk` frames at a time, which changes memory alone (and rounding,
        below 1e-5 of the largest). Usually these are frames with 2^14 tokens together; where gradients are recorded,
        which holds everything anyway, all frames. Raises FgqError for a chunk of no frames.
        """
        layout = self.layout(images)
        if frames_chunk is None and not torch.is_grad_enabled():
            frames_chunk = max(1, TOKENS_AT_A_TIME // layout.of_frame.num_tokens)
        if frames_chunk is not None and frames_chunk < 1:
            raise FgqError(f"frames_chunk is {frames_chunk}; blocks and dense heads need at least one frame at a time")
        in_parts = frames_chunk is not None and frames_chunk < layout.num_frames
        tokens = self.embed(images, frames_chunk if in_parts else None)
        for name, block in self.blocks():
            if in_parts and isinstance(block, Block):
                tokens = run_block_in_parts(block, name, tokens, layout, frames_chunk)
            else:
                tokens = run_block(block, name, tokens, layout)
            yield tokens

    def forward(self, images: Images) -> list[FrameTokens]:
        """Outputs of all blocks in running order."""
        return list(self.outputs(images))
