"""How much the tasks feel each token of a layer, by group of output channels: what GuidedQuant weighs inputs by.

s_tk = mean over the group's channels of g², g the gradient at the layer's output as in `fgq.fisher.output_factors`,
summed over tasks and averaged over draws. Source: GuidedQuant (arXiv:2505.07004), whose g is that of a language model's
loss. Its groups are those of one layer, so q, k and v have groups of their own. At a block's output, with each channel
for itself, it is what BRECQ (arXiv:2102.05426, eq. 10) weighs a block's errors by.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from fgq.affine.sites import SITES, linear_of
from fgq.data.scene import Scene
from fgq.errors import FgqError
from fgq.fisher.estimate import batches
from fgq.fisher.gradients import frozen
from fgq.fisher.output_factors import BLOCK_OUTPUT, FactorPlan, check_plan, layer_gradients
from fgq.vggt import VGGT

TokenSquares = dict[str, Float[Tensor, "scenes frames_tokens groups"]]  # by site; [1, all_tokens, groups]: see below


def token_squares(
    model: VGGT, scenes: Sequence[Scene], plan: FactorPlan, groups: int, batch_size: int = 1, progress: bool = True
) -> dict[str, TokenSquares]:
    """By block and site, float32, on the CPU; a layer that stacks projections has `groups` of each, one after another.

    Tokens stand frame by frame, as a global block sees them; those of scenes of several shapes in one row, scene after
    scene. Raises FgqError as `output_factors` does, and for groups that do not divide a projection's rows.
    """
    check_groups(groups, model, plan)
    counts = {site.name: groups * len(site.projections) for site in SITES}
    return squares_at(counts, model, scenes, plan, batch_size, progress)


def output_squares(
    model: VGGT, scenes: Sequence[Scene], plan: FactorPlan, batch_size: int = 1, progress: bool = True
) -> dict[str, TokenSquares]:
    """By block, at BLOCK_OUTPUT, of every channel: as large as the tokens themselves, for each block asked for.

    On the CPU and in one row for scenes of several shapes, as `token_squares`.
    """
    return squares_at({BLOCK_OUTPUT: model.config.embed_dim}, model, scenes, plan, batch_size, progress)


def squares_at(
    counts: Mapping[str, int],
    model: VGGT,
    scenes: Sequence[Scene],
    plan: FactorPlan,
    batch_size: int,
    progress: bool,
) -> dict[str, TokenSquares]:
    """At the given sites, in so many groups of equal size."""
    scenes, layers = list(scenes), dict(model.aggregator.blocks())
    plan = replace(plan, blocks=tuple(layers if plan.blocks is None else plan.blocks))
    check_plan(plan, layers, scenes, batch_size)
    runs: dict[str, dict[str, list[Tensor]]] = {name: {site: [] for site in counts} for name in plan.blocks}
    with frozen(model), tqdm(total=len(scenes), desc="token squares", unit="clip", disable=not progress) as bar:
        for run in batches(scenes, batch_size):
            clips = [scenes[i] for i in run]
            for name, sites in batch_squares(counts, model, clips, plan).items():
                for site, squares in sites.items():
                    runs[name][site].append(squares.cpu())
            bar.update(len(run))
    alike = len({scene.images.shape for scene in scenes}) == 1
    found: dict[str, TokenSquares] = {}
    for name in (name for name in layers if name in plan.blocks):
        found[name] = {site: in_order(runs[name].pop(site), alike) for site in counts}
    return found


def batch_squares(
    counts: Mapping[str, int], model: VGGT, clips: list[Scene], plan: FactorPlan
) -> dict[str, TokenSquares]:
    """Of scenes of one shape, summed over draws."""
    found: dict[str, TokenSquares] = {name: {} for name in plan.blocks}
    for name, gradients, _ in layer_gradients(model, clips, plan):
        for site, count in counts.items():
            split = gradients[site].float().reshape(len(clips), -1, count, gradients[site].shape[-1] // count)
            squares = split.square().mean(-1)
            found[name][site] = found[name][site] + squares if site in found[name] else squares
    return found


def in_order(runs: list[Float[Tensor, "_ _ groups"]], alike: bool) -> Float[Tensor, "scenes frames_tokens groups"]:
    """Of neighbouring scenes each: all in one tensor, or all tokens in one row where not all scenes are alike."""
    return torch.cat(runs) if alike else torch.cat([run.flatten(0, 1) for run in runs])[None]


def check_groups(groups: int, model: VGGT, plan: FactorPlan) -> None:
    for name, block in model.aggregator.blocks():
        for site in SITES if plan.blocks is None or name in plan.blocks else ():
            rows = linear_of(block, site).out_features // len(site.projections)
            if groups < 1 or rows % groups:
                raise FgqError(
                    f"{groups} groups do not divide the {rows} output channels of {site.projections[0]} in block "
                    f"{name}: choose a divisor"
                )
