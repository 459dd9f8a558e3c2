"""What it costs each task when one part of the model alone is quantized: measured, and as the Fisher predicts it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor, nn
from tqdm import tqdm

from fgq.affine.learnable_block import LearnableBlock
from fgq.affine.quantized_block import QuantizedBlock
from fgq.affine.sites import SITES
from fgq.affine.spec import BlockSpec
from fgq.data.scene import Scene
from fgq.errors import FgqError
from fgq.fisher.damage import kind_shares, kinds_of_clips, mean_by_kind, predict_damage
from fgq.fisher.table import FisherTable
from fgq.metrics.deviation import deviations
from fgq.quant import OFF_BITS, Grid
from fgq.vggt import TASK_OUTPUT, TASKS, VGGT, Predictions
from fgq.vggt.aggregator import FrameLayout, clip_shape, run_block
from fgq.vggt.token_kinds import TOKEN_KINDS, kind_slices

OWN_METRIC = {"camera": "deviation_rotation", "depth": "deviation_depth", "points": "deviation_points"}


@dataclass(frozen=True)
class Part:
    """What is quantized while all else stays in full precision: a block, or less of one.

    `linear` is the path of one linear layer in it. `kind` (camera, register or patch) and `channels` (first, last + 1)
    keep the quantization error of the block's output in these tokens and channels and take it away elsewhere. The error
    is multiplied by `scale`: a small one shows what the tasks' first derivatives alone make of it.
    """

    block: str
    linear: str | None = None
    kind: str | None = None
    channels: tuple[int, int] | None = None
    scale: float = 1.0

    def __str__(self) -> str:
        columns = f"channels {self.channels[0]} to {self.channels[1] - 1}" if self.channels else None
        scaled = f"times {self.scale:g}" if self.scale != 1 else None
        return " ".join(filter(None, (self.block, self.linear, self.kind, columns, scaled)))


def whole_blocks(model: VGGT) -> list[Part]:
    return [Part(name) for name in model.config.block_names]


def single_linears(model: VGGT) -> list[Part]:
    return [Part(name, linear=site.linear) for name in model.config.block_names for site in SITES]


def single_kinds(model: VGGT) -> list[Part]:
    """Camera, register and patch tokens of each block's output."""
    return [Part(name, kind=kind) for name in model.config.block_names for kind in TOKEN_KINDS]


def channel_groups(model: VGGT, size: int) -> list[Part]:
    """Neighbouring channels of each block's output, `size` at a time; the last group may be smaller."""
    width = model.config.embed_dim
    starts = range(0, width, size)
    return [Part(name, channels=(c, min(c + size, width))) for name in model.config.block_names for c in starts]


@dataclass(frozen=True)
class Sensitivity:
    """Damage of each part on its own, means over clips, and the errors of its block's output that caused it.

    Clips count the same for a damage; for E[Δ²] tokens do, whichever clip they are of.
    """

    parts: tuple[Part, ...]
    output_error: Float[Tensor, "parts tasks"]  # ½ |y' - y|² of the task's whole raw output, float64
    own_metric: Float[Tensor, "parts tasks"]  # deviation from full precision: degrees, relative depth, relative points
    errors: Float[Tensor, "parts kinds channels"]  # E[Δ²], mean over all tokens of each kind, float64
    tokens: Float[Tensor, " kinds"]  # tokens of each kind in a frame, mean over all frames

    def predict(self, fisher: FisherTable, by_kind: bool = False) -> Float[Tensor, "parts tasks"]:
        """½ Σ_c F[l, c] E[Δ_c²], the diagonal second-order term (arXiv:2605.15828), E the mean over all tokens.

        With `by_kind` every kind of token has its own sum: ½ Σ_kind Σ_c F[l, kind, c] E_kind[Δ_c²].
        Raises FgqError for a table of other blocks, or without kinds where they are asked for.
        """
        blocks = [part.block for part in self.parts]
        return predict_damage(fisher, blocks, self.errors, None if by_kind else self.tokens)

    def table(self, predicted: Float[Tensor, "parts tasks"] | None = None) -> pd.DataFrame:
        """One row a part and task: part, block, task, output_error, own_metric and, where it is given, predicted."""
        rows = [
            (str(part), part.block, task, self.output_error[p, t].item(), self.own_metric[p, t].item())
            for p, part in enumerate(self.parts)
            for t, task in enumerate(TASKS)
        ]
        frame = pd.DataFrame(rows, columns=["part", "block", "task", "output_error", "own_metric"])
        return frame if predicted is None else frame.assign(predicted=predicted.flatten().tolist())


@torch.no_grad()
def measure_sensitivity(
    model: VGGT,
    small: VGGT,
    scenes: Sequence[Scene],
    parts: Sequence[Part] | None = None,
    progress: bool = True,
) -> Sensitivity:
    """The damage of each part of `small`, a quantized model made from `model`, put into `model` on its own.

    `parts` are all blocks unless told. What runs before a block is computed once for all parts, and the parts of one
    block run on together. Neither model is changed.
    Raises FgqError for no scenes or parts, a part that does not exist, a single linear layer behind transforms (which
    belong to the whole block), and an output that is not finite (names scene and part).
    """
    if not scenes:
        raise FgqError("the sensitivity needs at least one scene, got none: load some with fgq.load_scenes")
    parts = tuple(whole_blocks(model) if parts is None else parts)
    blocks, fixed = dict(model.aggregator.blocks()), dict(small.aggregator.blocks())
    check_parts(parts, blocks, fixed, model.config.embed_dim)
    groups = {
        name: [
            (p, part, part_of(blocks[name], fixed[name], part)) for p, part in enumerate(parts) if part.block == name
        ]
        for name in blocks
    }
    special = model.config.num_special_tokens
    shapes = [clip_shape(model.check_images(scene.images)[0], model.config) for scene in scenes]
    damage = torch.zeros(2, len(parts), len(TASKS), dtype=torch.float64)
    errors = torch.zeros(len(parts), len(TOKEN_KINDS), model.config.embed_dim, dtype=torch.float64)
    clips = zip(scenes, kind_shares(shapes, special), strict=True)
    for scene, shares in tqdm(clips, desc="Sensitivity", total=len(scenes), unit="clip", disable=not progress):
        images = model.check_images(scene.images.to(model.device, model.dtype))
        layout = model.aggregator.layout(images)
        inputs = [model.aggregator.embed(images)]
        for name, block in blocks.items():
            inputs.append(run_block(block, name, inputs[-1], layout))
        reference = model.read_heads(inputs[1:], images.shape)
        for index, (name, group) in enumerate(groups.items()):
            if not group:
                continue
            target = inputs[index + 1]
            moved = [
                target + error_of(part, run_block(q, name, inputs[index], layout) - target, special)
                for _, part, q in group
            ]
            for (p, _, _), tokens in zip(group, moved, strict=True):
                mean = mean_by_kind((tokens - target).double().square(), special).cpu()
                errors[p] += shares[:, None] * mean
            for (p, part, _), answer in zip(group, run_on(model, inputs, index, moved, images), strict=True):
                found = torch.tensor(damages(answer, reference), dtype=torch.float64)
                if not torch.isfinite(found).all():
                    raise FgqError(f"scene {scene.name}: with {part} quantized the output holds NaN or infinity")
                damage[:, p] += found
    count = len(scenes)
    kinds = kinds_of_clips(shapes, special).sum(0) / sum(frames for frames, _, _ in shapes)
    return Sensitivity(parts, damage[0] / count, damage[1] / count, errors / count, kinds)


def check_parts(parts: Sequence[Part], blocks: dict[str, nn.Module], fixed: dict[str, nn.Module], width: int) -> None:
    if not parts:
        raise FgqError("the sensitivity needs at least one part to quantize, got none")
    linears = [site.linear for site in SITES]
    for part in parts:
        if part.block not in blocks:
            raise FgqError(f"part {part}: the model has no block {part.block}")
        if not isinstance(fixed.get(part.block), QuantizedBlock):
            raise FgqError(f"part {part}: block {part.block} of the second model is not quantized: see fgq.quantize")
        if part.linear is not None and part.linear not in linears:
            raise FgqError(f"part {part}: a block has no linear layer {part.linear}: choose {', '.join(linears)}")
        if part.linear is not None and fixed[part.block].spec.transforms != "none":
            raise FgqError(f"part {part}: its input is transformed, so the layer cannot be quantized on its own")
        if part.kind is not None and part.kind not in TOKEN_KINDS:
            raise FgqError(f"part {part}: no tokens are of kind {part.kind}: choose {', '.join(TOKEN_KINDS)}")
        if part.channels is not None and not 0 <= part.channels[0] < part.channels[1] <= width:
            raise FgqError(f"part {part}: a block's output has channels 0 to {width - 1}")


def part_of(block: nn.Module, fixed: QuantizedBlock, part: Part) -> nn.Module:
    """The quantized block, or the full-precision one in which one linear layer is quantized."""
    if part.linear is None:
        return fixed
    off = Grid(OFF_BITS)
    single = LearnableBlock(block, BlockSpec(off, off)).freeze().to(fixed.norm1.weight.dtype)
    single.set_submodule(part.linear, fixed.get_submodule(part.linear))
    return single


def error_of(part: Part, error: Float[Tensor, "frames tokens channels"], special: int) -> Tensor:
    """The error, scaled, where the part keeps it, zero elsewhere."""
    if part.kind is None and part.channels is None:
        return part.scale * error
    kept = torch.zeros_like(error)
    rows = kind_slices(special)[part.kind] if part.kind else slice(None)
    where = (slice(None), rows, slice(*part.channels) if part.channels else slice(None))
    kept[where] = part.scale * error[where]
    return kept


def run_on(model: VGGT, inputs: list[Tensor], index: int, moved: list[Tensor], images: Tensor) -> Iterator[Predictions]:
    """What the model answers for each of several outputs of block `index`, all run as one batch."""
    _, frames, _, height, width = images.shape
    patch = model.config.patch_size
    layout = FrameLayout(len(moved), frames, height // patch, width // patch, model.config, images.device)
    outputs = [tokens.repeat(len(moved), 1, 1) for tokens in inputs[1 : index + 1]] + [torch.cat(moved)]
    for name, block in list(model.aggregator.blocks())[index + 1 :]:
        outputs.append(run_block(block, name, outputs[-1], layout))
    answers = model.read_heads(outputs, (len(moved), *images.shape[1:]))
    for row in range(len(moved)):
        yield Predictions(**{output: answers[output][row : row + 1] for output in TASK_OUTPUT.values()})


def damages(moved: Predictions, reference: Predictions) -> list[list[float]]:
    """Of one clip, by task: ½ of the squared distance between raw outputs, and the task's own metric."""
    pairs = [(moved[TASK_OUTPUT[task]].double(), reference[TASK_OUTPUT[task]].double()) for task in TASKS]
    squared = [0.5 * (mine - theirs).square().sum().item() for mine, theirs in pairs]
    own = deviations(moved, reference)
    return [squared, [own[OWN_METRIC[task]] for task in TASKS]]
