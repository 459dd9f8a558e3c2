"""H_O of every linear layer in a block: which errors of its outputs the tasks feel together.

H_O = Σ g gᵀ over clips and tokens, g the gradient of a task's output, with random signs (`hutchinson`), at the layer's
own output. Its mean over the signs is Σ JᵀJ over the task's outputs, of which the diagonal Fisher keeps the diagonal.
Each task's outputs are measured in units of their length ‖o‖ in the clip, so that ½ Δᵀ H_O Δ is half the squared
relative error that the tasks take, and no unit or number of pixels decides: each clip counts the same for each task,
however long it is.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from itertools import islice, repeat

import torch
from jaxtyping import Float
from torch import Tensor, nn
from tqdm import tqdm

from fgq.affine.sites import SITE_OF_LINEAR, SITES, linear_of
from fgq.data.scene import Scene
from fgq.errors import FgqError
from fgq.fisher.estimate import DEFAULT_PROBES, batches
from fgq.fisher.estimators import Clips, hutchinson
from fgq.fisher.gradients import clip_generator, frozen
from fgq.fisher.merge import weights_of_tasks
from fgq.fisher.sweep import DRAWS_A_SWEEP, HeadGradients, head_gradients, sweep
from fgq.quant.output_matrix import InBlocks, check_divides
from fgq.vggt import TASK_OUTPUT, TASKS, VGGT, Predictions
from fgq.vggt.aggregator import FrameLayout, run_block
from fgq.vggt.attention import LINEARS, Block
from fgq.vggt.rotary import RotaryTable
from fgq.vggt.token_kinds import TOKEN_KINDS, kind_slices

BLOCK_OUTPUT = "block_out"  # beside the sites: the output of the whole block
Sums = dict[str, dict[str, Float[Tensor, "blocks size size"]]]  # by block and site


@dataclass(frozen=True)
class FactorPlan:
    """What decides the sums beside the model and the scenes."""

    probes: int = DEFAULT_PROBES  # draws a clip and task, over which the mean is taken
    seed: int = 0  # a scene's draws follow from it and the scene's images
    task_weights: tuple[float, ...] = (1.0,) * len(TASKS)  # in the order of TASKS
    blocks: Collection[str] | None = None  # full-precision ones; all for None
    kinds: Collection[str] = TOKEN_KINDS  # of tokens that are summed over
    size: int | None = None  # rows of the blocks that are kept along a matrix's diagonal; None for the whole
    autocast: bool = False  # matrix products in bfloat16


def output_factors(
    model: VGGT,
    scenes: Sequence[Scene],
    plan: FactorPlan | None = None,
    batch_size: int = 1,
    executor: Executor | None = None,
    progress: bool = True,
) -> dict[str, dict[str, InBlocks]]:
    """H_O of the layers of every block, by block and site, float32, summed over clips and tasks.

    The layer at a site is the one that reads it: q, k, v stacked at attn_in, then o, fc1 and fc2. `BLOCK_OUTPUT` stands
    beside them: the same of the block's own output. Whole matrices take 112 MiB for one block of VGGT-1B
    (`fgq.quant.output_matrix.stored_bytes`), twice that while adding up. Batches, order and `executor` change values by
    rounding only, and a block's do not depend on which others are asked for.

    Raises FgqError for no scenes, unknown blocks, kinds or tasks, quantized blocks, a size that does not divide the
    rows, and a gradient that is not finite, naming scene and task.
    """
    plan = plan or FactorPlan()
    scenes, layers = list(scenes), dict(model.aggregator.blocks())
    plan = replace(plan, blocks=tuple(layers if plan.blocks is None else plan.blocks))
    weights_of_tasks(TASKS, dict(zip(TASKS, plan.task_weights, strict=True)))
    check_plan(plan, layers, scenes, batch_size)
    groups = [[scenes[i] for i in group] for group in batches(scenes, batch_size)]
    total: Sums = {}
    with frozen(model), tqdm(total=len(scenes), desc="H_O", unit="clip", disable=not progress) as bar:
        for group, sums in zip(groups, compute(model, groups, plan, executor), strict=True):
            for name, sites in sums.items():
                known = total.setdefault(name, {})
                for site, matrix in sites.items():
                    known[site] = known[site] + matrix if site in known else matrix
            bar.update(len(group))
    names = [name for name in layers if name in plan.blocks]
    return {name: {site: InBlocks(symmetric(total[name][site])) for site in total[name]} for name in names}


def compute(model: VGGT, groups: list[list[Scene]], plan: FactorPlan, executor: Executor | None) -> Iterable[Sums]:
    if executor is None:
        return (batch_sums(model, group, plan) for group in groups)
    return executor.map(batch_sums, repeat(model, len(groups)), groups, repeat(plan, len(groups)))


def batch_sums(model: VGGT, scenes: list[Scene], plan: FactorPlan) -> Sums:
    """Of scenes of one shape, float64."""
    sums: Sums = {name: {} for name in plan.blocks}
    for name, found, layout in layer_gradients(model, scenes, plan):
        add_products(sums[name], found, layout, model.config.num_special_tokens, plan)
    return sums


def layer_gradients(
    model: VGGT, scenes: list[Scene], plan: FactorPlan
) -> Iterator[tuple[str, dict[str, Float[Tensor, "batch tokens out"]], FrameLayout]]:
    """Block by block and draw by draw, as `linear_gradients` gives them; one block's graph is alive at a time.

    A draw's share of the mean, and its task's weight, are in the gradients: what sums their squares needs no more.
    """
    images = model.check_images(torch.stack([scene.images for scene in scenes]).to(model.device, model.dtype))
    layers = list(model.aggregator.blocks())
    earliest = min(index for index, (name, _) in enumerate(layers) if name in plan.blocks)
    with frozen(model), torch.no_grad(), torch.autocast(model.device.type, torch.bfloat16, enabled=plan.autocast):
        layout, inputs = model.aggregator.layout(images), [model.aggregator.embed(images)]
        for name, block in layers:
            inputs.append(run_block(block, name, inputs[-1], layout))
        outputs = inputs[1:]
        for draws in draws_of(model, outputs, images.shape, scenes, plan):
            backwards = zip(reversed(range(len(layers))), sweep(model, outputs, layout, draws), strict=False)
            for index, gradients in backwards:
                name, block = layers[index]
                if name in plan.blocks:
                    for found in linear_gradients(block, name, inputs[index], layout, gradients):
                        yield name, found, layout
                if index == earliest:
                    break


def draws_of(
    model: VGGT, outputs: list[Tensor], image_shape: tuple[int, ...], scenes: list[Scene], plan: FactorPlan
) -> Iterator[list[HeadGradients]]:
    """Gradients where the heads read, as many as go through the blocks together; raises FgqError for NaN."""
    weights = dict(zip(TASKS, plan.task_weights, strict=True))
    tasks = tuple(task for task in TASKS if weights[task] > 0)

    def relative_output(predictions: Predictions, task: str, clips: Clips) -> Tensor:
        """`hutchinson` of the output in units of its length; the head runs clip by clip, so that is the clip's own."""
        length = predictions[TASK_OUTPUT[task]].detach().float().norm()
        return hutchinson(predictions, task, clips) * (weights[task] / plan.probes) ** 0.5 / length

    clips = Clips(tuple(scenes), tuple(clip_generator(plan.seed, scene) for scene in scenes))
    found = head_gradients(model, outputs, image_shape, relative_output, plan.probes, clips, unrolled=True, tasks=tasks)
    order = iter([task for task in tasks for _ in range(plan.probes)])
    while draws := list(islice(found, DRAWS_A_SWEEP)):
        for draw, task in zip(draws, order, strict=False):
            for number, scene in enumerate(scenes):
                rows = slice(number * image_shape[1], (number + 1) * image_shape[1])
                if not all(torch.isfinite(gradient[rows]).all() for gradient in draw.values()):
                    raise FgqError(
                        f"scene {scene.name}: the gradient of task {task} holds NaN or infinity; leave the scene out, "
                        "or load the model in float32"
                    )
        yield draws


def linear_gradients(
    block: Block, name: str, tokens: Tensor, layout: FrameLayout, gradients: list[Tensor]
) -> Iterator[dict[str, Float[Tensor, "batch tokens out"]]]:
    """Of each gradient at a block's output, [B * S, tokens, C]: those at the outputs of its linear layers, by site.

    It stands among them itself, as BLOCK_OUTPUT. `tokens` is the block's input. A global block's come as it sees them,
    all frames of a clip in a row.
    """
    with torch.enable_grad():
        output, seen = linear_outputs(block, *layout.arguments(name, tokens.detach()))
    for number, gradient in enumerate(gradients):
        more = number + 1 < len(gradients)
        gradient = gradient.reshape(output.shape)
        found = torch.autograd.grad(output, list(seen.values()), gradient, retain_graph=more)
        yield dict(zip(seen, found, strict=True)) | {BLOCK_OUTPUT: gradient}


def linear_outputs(
    block: Block, x: Float[Tensor, "batch tokens channels"], rotary: RotaryTable | None = None
) -> tuple[Float[Tensor, "batch tokens channels"], dict[str, Tensor]]:
    """A block's output, and the output of the linear layer at every site, joined by a graph that starts at q, k, v."""
    seen: dict[str, Tensor] = {}

    def linear(path: str, values: Tensor) -> Sequence[Tensor]:
        out = block.get_submodule(path)(values)
        out = out if seen else out.detach().requires_grad_()
        seen[SITE_OF_LINEAR[path].name] = out
        return out.chunk(LINEARS[path], dim=-1)

    return block.run(x, rotary, linear), seen


def add_products(
    sums: dict[str, Tensor], found: dict[str, Tensor], layout: FrameLayout, special: int, plan: FactorPlan
) -> None:
    """Adds Σ g gᵀ over the tokens of the plan's kinds, `special` of which lead every frame."""
    spans = kind_slices(special)
    for site, gradient in found.items():
        frames = gradient.reshape(layout.num_frames, -1, gradient.shape[-1]).float()
        if set(plan.kinds) < spans.keys():
            frames = torch.cat([frames[:, spans[kind]] for kind in TOKEN_KINDS if kind in plan.kinds], dim=1)
        split = frames.flatten(0, 1).unflatten(1, (-1, plan.size or frames.shape[-1])).transpose(0, 1)
        product = torch.bmm(split.transpose(1, 2), split).double()
        sums[site] = sums[site] + product if site in sums else product


def in_value_basis(matrix: InBlocks, per_head: Float[Tensor, "head_dim head_dim"]) -> InBlocks:
    """H_O of the stacked q, k, v layer once a value transform P is folded into it: v of a head becomes v P.

    A gradient at v P is P⁻¹ times that at v, since gᵀ dv = gᵀ P⁻ᵀ d(Pᵀ v): so H_O becomes T H_O Tᵀ, with T = P⁻¹ on
    the rows of each head's values and 1 on those of q and k. P is the right factor of the transform at attn_out,
    `matrices["attn_out"].right.forward`. Raises FgqError for blocks that cut a head in two.
    """
    count, size, _ = matrix.blocks.shape
    dim = len(per_head)
    check_divides(dim, size)
    heads = count * size // dim // 3
    inverse = torch.linalg.inv(per_head.double())
    both = torch.stack([torch.eye(dim).to(inverse), inverse])
    turns = both[torch.arange(3 * heads, device=inverse.device) // (2 * heads)].view(count, -1, dim, dim)
    split = matrix.blocks.to(inverse).view(count, size // dim, dim, size // dim, dim)
    turned = torch.einsum("bhij,bhjkl->bhikl", turns, split)
    turned = torch.einsum("bhikl,bkml->bhikm", turned, turns)
    return InBlocks(symmetric(turned.reshape(count, size, size)).to(matrix.blocks))


def symmetric(blocks: Float[Tensor, "blocks size size"]) -> Float[Tensor, "blocks size size"]:
    """To the bit, which products are not; float32."""
    return ((blocks + blocks.transpose(1, 2)) / 2).float()


def check_plan(plan: FactorPlan, layers: dict[str, nn.Module], scenes: list[Scene], batch_size: int) -> None:
    if not scenes:
        raise FgqError("output factors need at least one scene, got none: load some with fgq.load_scenes")
    if batch_size < 1 or plan.probes < 1:
        raise FgqError(f"batch_size is {batch_size} and probes {plan.probes}: both must be at least 1")
    for what, chosen, known in (("block", plan.blocks, layers), ("kind of token", plan.kinds, TOKEN_KINDS)):
        unknown = sorted(set(chosen) - set(known))
        if unknown or not chosen:
            named = f"there is no {what} {unknown[0]}" if unknown else f"no {what} was chosen"
            raise FgqError(f"{named}: choose from {', '.join(known)}")
    for name in plan.blocks:
        if type(layers[name]) is not Block:
            raise FgqError(f"block {name} is a {type(layers[name]).__name__}: use the full-precision model instead")
        for site in SITES:
            check_divides(plan.size or 1, linear_of(layers[name], site).out_features)
