"""How the tokens of the calibration scenes lie at rest, which of them make a step, and how a block is called with them.

Scenes of one shape are a tensor [scenes, frames, tokens, C]. Scenes of several shapes lie one after another in a single
row, [1, all_tokens, C], in which attention alone asks where a frame and a scene end.

Every token counts the same then, whichever scene it is of, as the published mean over tokens has it (arXiv:2605.15828):
in Σ x xᵀ, in the losses of a block over all scenes, and in the loss of a step, the mean over the tokens of its scenes.
So a scene of twice the frames has twice the weight; each step moves the parameters once, however many tokens it has.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate, groupby

import torch
from jaxtyping import Float
from torch import Tensor

from fgq.data.scene import Scene
from fgq.vggt.aggregator import ClipShape, FrameLayout, Layout, MixedLayout, clip_shape, count_tokens
from fgq.vggt.config import VGGTConfig
from fgq.vggt.rotary import RotaryTable

SceneTokens = Float[Tensor, "scenes *tokens channels"]  # [scenes, frames, tokens, C] or [1, all_tokens, C]
Step = slice | tuple[slice, slice]  # that picks the scenes of one step from their tokens


def batches(count: int, size: int) -> Iterator[slice]:
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def stacks(scenes: Sequence[Scene]) -> Iterator[Float[Tensor, "clips frames 3 height width"]]:
    """The images of neighbouring scenes of one shape together."""
    for _, same in groupby(scenes, key=lambda scene: tuple(scene.images.shape)):
        yield torch.stack([scene.images for scene in same])


KEPT = 8  # layouts, each with the rotary tables of a step; a new one is soon made


class TokenLayouts:
    """Of scenes of one shape: the layout of a batch of them, kept for the batch sizes that occur.

    Holds sizes alone, neither the model nor images, so that it can be sent to a worker.
    """

    def __init__(self, config: VGGTConfig, images: Float[Tensor, "frames 3 height width"], device: torch.device | str):
        self.config, self.device = config, torch.device(device)
        self.shapes = (clip_shape(images, config),)  # that occur
        self.made: dict[tuple[ClipShape, ...], Layout] = {}

    def __getstate__(self) -> dict:
        return self.__dict__ | {"made": {}}

    def of(self, scenes: int) -> Layout:
        """Of the tokens of so many scenes."""
        return self.of_shapes(self.shapes * scenes)

    def of_shapes(self, shapes: tuple[ClipShape, ...]) -> Layout:
        if shapes not in self.made:
            if len(self.made) == KEPT:
                del self.made[next(iter(self.made))]
            alike = len(set(shapes)) == 1
            frames = FrameLayout(len(shapes), *shapes[0], self.config, self.device) if alike else None
            self.made[shapes] = frames or MixedLayout(shapes, self.config, self.device)
        return self.made[shapes]

    def steps(self, tokens: SceneTokens, size: int) -> list[Step]:
        """What picks the tokens of each step of `size` scenes, in order."""
        return list(batches(len(tokens), size))

    def bring(self, tokens: SceneTokens) -> SceneTokens:
        """The tokens of a step where the model computes; tokens at rest may lie elsewhere.

        For a GPU they pass through page-locked memory, from which it copies without holding up this thread.
        """
        if self.device.type == "cuda" and tokens.device.type == "cpu":
            return tokens.pin_memory().to(self.device, non_blocking=True)
        return tokens.to(self.device)

    def placed(self, tokens: SceneTokens, step: Step) -> SceneTokens:
        """Tokens of a step, so that `of` can tell how they lie."""
        return tokens

    def by_shape(
        self, values: SceneTokens, tokens: SceneTokens
    ) -> Iterator[tuple[ClipShape, int, Float[Tensor, "frames tokens channels"]]]:
        """What was computed of a step's `tokens`, frame by frame: of each shape in turn, with its number of scenes."""
        yield self.shapes[0], len(tokens), values.flatten(0, 1)

    def count_scenes(self, tokens: SceneTokens) -> int:
        """How many scenes' tokens at rest these are."""
        return len(tokens)


class PlacedTokens(Tensor):
    """Tokens of a step [1, all_tokens, C] with the shapes of its scenes; whatever is computed of them is plain."""

    shapes: tuple[ClipShape, ...]
    __torch_function__ = torch._C._disabled_torch_function_impl


class UnequalLayouts(TokenLayouts, Layout):
    """Of scenes of several shapes. A step holds as many scenes as ever, whatever their shapes."""

    def __init__(self, config: VGGTConfig, scenes: Sequence[Scene], device: torch.device | str):
        super().__init__(config, scenes[0].images, device)
        self.shapes = tuple(clip_shape(scene.images, config) for scene in scenes)  # of each
        lengths = (count_tokens(shape, config) for shape in self.shapes)
        self.starts = list(accumulate(lengths, initial=0))  # of each scene in the row, and its end

    def of(self, scenes: int) -> Layout:
        """Of any step's tokens: they say themselves how they lie."""
        return self

    def arguments(
        self, name: str, tokens: Float[Tensor, "1 all_tokens channels"]
    ) -> tuple[Float[Tensor, "batch sequence channels"], RotaryTable]:
        return self.of_shapes(tokens.shapes).arguments(name, tokens)

    def steps(self, tokens: SceneTokens, size: int) -> list[Step]:
        scenes = batches(len(self.shapes), size)
        return [(slice(None), slice(self.starts[step.start], self.starts[step.stop])) for step in scenes]

    def placed(self, tokens: SceneTokens, step: Step) -> SceneTokens:
        placed = tokens.as_subclass(PlacedTokens)
        first, last = (self.starts.index(end) for end in (step[1].start, step[1].stop))
        placed.shapes = self.shapes[first:last]
        return placed

    def by_shape(
        self, values: SceneTokens, tokens: SceneTokens
    ) -> Iterator[tuple[ClipShape, int, Float[Tensor, "frames tokens channels"]]]:
        start = 0
        for shape, same in groupby(tokens.shapes):
            scenes = len(list(same))
            rows = slice(start, start + scenes * count_tokens(shape, self.config))
            yield shape, scenes, values[0, rows].unflatten(0, (scenes * shape[0], -1))
            start = rows.stop

    def count_scenes(self, tokens: SceneTokens) -> int:
        return len(self.shapes)


def layouts_of(config: VGGTConfig, scenes: Sequence[Scene], device: torch.device | str) -> TokenLayouts:
    if len({scene.images.shape for scene in scenes}) == 1:
        return TokenLayouts(config, scenes[0].images, device)
    return UnequalLayouts(config, scenes, device)
