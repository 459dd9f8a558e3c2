"""Everything that a model costs, in tables: by part and precision, by recipe, and of one forward pass."""

import re
from dataclasses import dataclass

import pandas as pd
import torch

from fgq.checkpoint.delta import Base
from fgq.checkpoint.files import ModelFiles, find_files
from fgq.checkpoint.hub import HubOptions
from fgq.checkpoint.load import all_tensors, find_device, find_dtype, outline
from fgq.errors import FgqError
from fgq.memory.bit_operations import average_bits, bit_operations
from fgq.memory.forward import forecast
from fgq.memory.limit import Clips, Limit, free_bytes
from fgq.memory.measure import Measured
from fgq.memory.speed import predict_seconds
from fgq.memory.stored import stored_bytes
from fgq.quant import PackedLinear, unpack_layers
from fgq.quant.packed_linear import quantized_layers
from fgq.vggt.size import part_sizes

GIGABYTE = 10**9
LONGEST_SIDE = 16_384  # pixels of an image; a longer one is a slip of the finger


@dataclass(frozen=True)
class Input:
    """One clip as the model will see it."""

    frames: int
    width: int  # pixels
    height: int  # pixels

    @classmethod
    def parse(cls, frames: int, size: str) -> "Input":
        """From a size such as 518x392 (width, then height) or 518 (a square). Raises FgqError."""
        found = re.fullmatch(r"(\d{1,5})(?:[x×](\d{1,5}))?", size, re.IGNORECASE)
        width, height = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
        if frames < 1 or not (0 < width <= LONGEST_SIDE and 0 < height <= LONGEST_SIDE):
            raise FgqError(
                f"{frames} frames of size {size[:50]!r}: give at least one frame and WIDTHxHEIGHT in pixels, at most "
                f"{LONGEST_SIDE} a side"
            )
        return cls(frames, width, height)

    def __str__(self) -> str:
        return f"{self.frames} frame{'s' if self.frames > 1 else ''} of {self.width} × {self.height} pixels"


@dataclass(frozen=True)
class Info:
    """A checkpoint whose files have been found and whose tensors fit; their values are not read."""

    files: ModelFiles
    dtype: torch.dtype | None  # of weights and computation; None: as `load_model` chooses

    @classmethod
    def open(cls, name: str, dtype: str | None = None, hub: HubOptions | None = None) -> "Info":
        """Raises FgqError for what `load_model` refuses by name, shape or description."""
        files = find_files(name, hub)
        wanted = find_dtype(dtype)
        return cls(files, wanted if wanted is not None or files.quantization else torch.float32)

    def outline(self):
        """The model without storage, one of its own at every call."""
        model, _ = outline(self.files)
        return model if self.dtype is None else model.to(self.dtype)

    def parts(self) -> pd.DataFrame:
        return part_sizes(unpack_layers(self.outline()))

    def stored(self) -> pd.DataFrame:
        """As `stored_bytes` of the files, or of a delta with what it takes from its base; in the types they have."""
        model, omitted = outline(self.files)
        kept = {name: tensor for name, tensor in all_tensors(self.files).items() if name not in omitted}
        return stored_bytes(model, kept)

    def form(self) -> str:
        """In words, how a quantized model is stored; nothing for others."""
        if not self.files.quantization:
            return ""
        packed = any(isinstance(layer, PackedLinear) for _, layer in quantized_layers(self.outline()))
        told = ", codes packed at their own width" if packed else ", a byte a code"
        base = Base.read(self.files)
        return told if base is None else f"{told}, a delta that lacks {len(base.inherited)} tensors of {base.name}"

    def bits_text(self) -> str:
        """What a quantized model says of its bits: recipe and setting, such as flatquant + S8, W4A4S8."""
        calibration = self.outline().quantization
        if calibration is None:
            return "of no stated recipe"
        return f"{calibration.recipe.label}, {calibration.recipe.bits}"

    def average_bits(self, clip: Input) -> pd.DataFrame:
        """By kind of token, as `fgq.memory.bit_operations.average_bits` gives them."""
        return average_bits(bit_operations(self.outline(), clip.frames, clip.height, clip.width))

    def predict(self, clip: Input, device: str = "cpu") -> pd.Series:
        """Gigabytes (10^9 bytes) and seconds of one forward pass on this machine; see `forecast`, `predict_seconds`."""
        device = find_device(device)
        expected = forecast(self.outline(), clip.frames, clip.height, clip.width, device=device)
        model = self.outline()
        seconds = predict_seconds(model, expected, clip.height, clip.width, model.dtype, device)
        return cost_row(expected.weight_bytes, expected.activation_bytes, seconds)

    def limit(self, clip: Input, device: str = "cpu") -> Limit:
        """The most frames of the clip's size that fit into what is free there now; see `fgq.memory.limit`."""
        place = find_device(device)
        return Clips(self.outline(), clip.height, clip.width, place).limit(free_bytes(place))


def measured_row(found: Measured) -> pd.Series:
    taken = found.weight_bytes, found.activation_bytes, found.forward_seconds
    return cost_row(*taken, process=found.process_bytes, load=found.load_seconds)


def cost_row(
    weights: float, activations: float, forward: float, process: float | None = None, load: float | None = None
) -> pd.Series:
    """Bytes and seconds as a row. The process's own memory counts in the peak only where it is known."""
    peak = weights + activations + (process or 0)
    taken = {"weights GB": weights, "activations GB": activations, "process GB": process, "peak GB": peak}
    seconds = pd.Series({"load s": load, "forward s": forward}, dtype=float)
    return pd.concat([pd.Series(taken, dtype=float) / GIGABYTE, seconds]).round(3)
