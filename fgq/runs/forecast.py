"""What a run will take, chapter by chapter, before it starts: hours, memory, disk; and why it cannot be.

Times are the chapter's counts (fgq.runs.work) of operations (fgq.memory.forward and the formulas here) over the speed
of a few such operations on this machine (fgq.memory.probe).
"""

from dataclasses import dataclass, field
from functools import cache

import torch

from fgq.calibrate import find_recipe
from fgq.calibrate.token_store import TOKEN_BUDGET
from fgq.memory.forward import Forecast
from fgq.memory.forward import forecast as forward_costs
from fgq.memory.probe import Speeds
from fgq.memory.recipes import bytes_outside_blocks, weigh_blocks
from fgq.runs.runfile import RunFile, Step
from fgq.runs.work import CHAPTERS, Work
from fgq.vggt import VGGTConfig
from fgq.vggt.weights import empty_model

TIME_FACTOR = 3.0  # seconds end within this factor either way; test_forecast holds measured chapters against it
MEMORY_FACTOR = 1.5  # the same of memory
STARTS = 2.0  # a chapter starts: a kernel, its libraries, the model, the first figure, in starts of an interpreter
PROCESS_BYTES = 0.7e9  # of a kernel with its libraries
READ_SECONDS = 0.1  # of a picture with its depth from the disk
PAGE_BYTES = 5e6  # of an executed notebook
SCENE_FLOATS, ANSWER_FLOATS = 8, 6  # a pixel: image, depth, points, validity; depth, points, two confidences


@dataclass(frozen=True)
class Size:
    """What a chapter's costs follow from, beside its counts."""

    model: str
    config: VGGTConfig = field(compare=False)
    dtype: torch.dtype
    frames: int
    height: int
    width: int
    rendered: bool  # scenes are, and not read
    device: str

    @property
    def on_gpu(self) -> bool:
        return self.device != "cpu"

    @property
    def pixels(self) -> int:
        return self.frames * self.height * self.width

    @property
    def tokens(self) -> int:
        """Of a clip."""
        patches = (self.height // self.config.patch_size) * (self.width // self.config.patch_size)
        return self.frames * (self.config.num_special_tokens + patches)


@dataclass(frozen=True)
class Range:
    low: float
    high: float

    @classmethod
    def around(cls, value: float, factor: float) -> "Range":
        return cls(value / factor, value * factor)


@dataclass(frozen=True)
class Costs:
    """Of one chapter. `gpu` is None where it computes on the CPU; all but the seconds are bytes."""

    seconds: Range
    host: Range
    gpu: Range | None
    disk: float


def aggregator_operations(size: Size) -> float:
    """Multiplications and additions of all frame and global blocks for one clip: linear layers and attention."""
    config, tokens = size.config, size.tokens
    linear = 24 * tokens * config.embed_dim**2
    attention = 4 * tokens * config.embed_dim
    return config.depth * (2 * linear + attention * (tokens / size.frames + tokens))


def layer_matrix_bytes(config: VGGTConfig) -> tuple[float, float]:
    """Of one float64 matrix for the inputs of every layer of the blocks, and for their outputs."""
    d = config.embed_dim
    inputs, outputs = (d, d, d, 4 * d), (3 * d, d, 4 * d, d)
    return tuple(config.num_blocks * 8 * sum(side**2 for side in sides) for sides in (inputs, outputs))


def costs(work: Work, size: Size, speeds: Speeds) -> Costs:
    """Of what is counted, on this machine. Within TIME_FACTOR and MEMORY_FACTOR."""
    config = size.config
    seen = walked(size)
    blocks = aggregator_operations(size)
    heads = seen.convolution_operations / speeds.convolution
    reading = size.pixels / speeds.rendering if size.rendered else READ_SECONDS * size.frames
    seconds = (
        STARTS * speeds.start
        + work.seconds
        + work.forwards * (seen.block_operations / speeds.block + heads)
        + work.passes * blocks / speeds.block
        + work.heads * heads
        + work.gradients * (blocks / speeds.gradient + heads)
        + work.learned * blocks / speeds.learning
        + work.eliminated * 48 * config.num_blocks * config.embed_dim**3 / speeds.elimination
        + work.scored * size.pixels / speeds.scoring
        + work.loaded * reading
    )
    small = quantized_bytes(size)
    tokens = 3 * work_clips(work) * size.tokens * config.embed_dim * 4 if work.learned or work.eliminated else 0
    inputs, outputs = layer_matrix_bytes(config)
    working = seen.activation_bytes * (3 if work.gradients else 1)
    if work.learned:  # of a step, what its gradient needs
        working = max(working, 2 * size.tokens * config.embed_dim * 4 * 80)
    models = work.models * seen.weight_bytes + work.small * small + working
    host = (
        PROCESS_BYTES * (1 + work.processes)
        + 4 * size.pixels * (SCENE_FLOATS * work.scenes + ANSWER_FLOATS * work.answers)
        + min(tokens, TOKEN_BUDGET)
        + work.input_matrices * inputs
        + work.output_matrices * outputs
        + (seen.weight_bytes if size.on_gpu else models)
    )
    return Costs(
        seconds=Range.around(seconds, TIME_FACTOR),
        host=Range.around(host, MEMORY_FACTOR),
        gpu=Range.around(models, MEMORY_FACTOR) if size.on_gpu else None,
        disk=work.saved * small + PAGE_BYTES + (tokens / 2 if tokens > TOKEN_BUDGET else 0),
    )


def work_clips(work: Work) -> float:
    """Clips whose tokens a calibration keeps: those loaded, and not held as test scenes with answers."""
    return max(work.scenes - work.answers / 2, 0) or work.scenes


@cache
def walked(size: Size) -> Forecast:
    return forward_costs(empty_model(size.config), size.frames, size.height, size.width, size.dtype)


@cache
def quantized_bytes(size: Size) -> float:
    """Of a quantized model, a byte a code."""
    blocks = weigh_blocks(size.config, find_recipe("flatquant"), size.dtype)
    return bytes_outside_blocks(size.config, size.dtype) + sum(blocks.values())


def count_work(run: RunFile, step: Step, config: VGGTConfig) -> Work | None:
    """Of a chapter with its parameters; None where nothing is known of it."""
    if step.chapter.name not in CHAPTERS:
        return None
    parameters = dict(step.all_parameters)
    if "calibration" in step.needs:
        parameters["calibration seeds"] = run.step("calibration").all_parameters["seeds"]
    return CHAPTERS[step.chapter.name](parameters, config.num_blocks)
