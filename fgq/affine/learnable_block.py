"""The block that calibration trains: full-precision weights stay, transforms and clips learn."""

import copy
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fgq.affine.diagonal import smooth_start
from fgq.affine.hadamard import random_flat_orthogonal
from fgq.affine.kronecker import GivenKronecker, Kronecker, LearnableKronecker, all_matrices, diagonal_ratio
from fgq.affine.quantized_block import QuantizedBlock
from fgq.affine.sites import RUN_TIME, SITE_OF_LINEAR, SITES, Site, linear_inputs, linear_of
from fgq.affine.spec import AT_RUN_TIME, ROTATIONS, BlockSpec
from fgq.quant.clipping import clip_weight, make_clip
from fgq.quant.linear import quantize_kinds
from fgq.quant.product import MultiplyParts
from fgq.quant.rounders import Rounder, to_nearest
from fgq.vggt.attention import Block, RotaryTable

Matrices = dict[str, Kronecker]
Maxima = dict[str, Float[Tensor, " width"]]  # by site: largest magnitude of each input channel


class LearnableBlock(nn.Module):
    """Same call as `Block`, fake-quantized, differentiable in `transform_parameters` and `clip_parameters`.

    Holds its own copy of the block. `input_max` starts the diagonals (see `smooth_start`); without it they start at 1.
    Source: FlatQuant (arXiv:2410.09426) as FGQ (arXiv:2605.15828) applies it to VGGT.
    """

    def __init__(
        self,
        block: Block,
        spec: BlockSpec,
        input_max: Maxima | None = None,
        alpha: float = 0.5,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        self.spec = spec
        self.block = copy.deepcopy(block).float().requires_grad_(False)
        self.transforms, self.weight_clips, self.input_clips = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        for site in SITES:
            weight = linear_of(self.block, site).weight
            if spec.transforms != "none":
                largest = input_max[site.name] if input_max is not None else None
                self.transforms[site.name] = self.make_transform(site, weight, largest, alpha, generator)
            clips = spec.num_clips(site.projections)
            ranges = len(weight) * spec.weight.num_groups(weight.shape[1])
            self.weight_clips[site.name] = make_clip(ranges, spec.clips_weights and not spec.weight_at(site).is_off)
            self.input_clips[site.name] = make_clip(
                clips, spec.clips_activations and not spec.activation_at(site).is_off
            )
        self.to(block.norm1.weight.device)

    def make_transform(
        self, site: Site, weight: Tensor, largest: Tensor | None, alpha: float, generator: torch.Generator | None
    ) -> LearnableKronecker | GivenKronecker:
        """The transform of a site as it starts; `largest` is the magnitude of each input channel, where it is known."""
        sizes = site.factors(weight.shape[1], self.block.attn.num_heads)
        if self.spec.transforms in ROTATIONS:
            smoothing = torch.ones(weight.shape[1]) if self.spec.transforms == "rotation_smoothing" else None
            turns = (random_flat_orthogonal(size, generator) for size in sizes)
            return GivenKronecker(*turns, smoothing=smoothing)
        alone = self.spec.transforms == "diagonal"
        start = None
        if site.has_diagonal and not (alone and site.diagonal == RUN_TIME):  # SmoothQuant's must fold away
            start = torch.ones(weight.shape[1], device=weight.device)
            if largest is not None:
                start = smooth_start(weight, largest.float(), alpha)
        if alone:
            return GivenKronecker(*(torch.eye(size) for size in sizes), start)
        return LearnableKronecker(*sizes, start, generator)

    @torch.no_grad()
    def smooth(self, rotated_max: Maxima, alpha: float) -> None:
        """Sets the diagonals behind the rotations R to max|w R|^(1 - alpha) / max|x R|^alpha, channel by channel.

        SmoothQuant's rule on what has been rotated (QuantVGGT, arXiv:2509.21302, eq. 7). `rotated_max` is max|x R|,
        from the `transformed_inputs` of this block while its diagonals are still 1.
        """
        for site in SITES:
            transform, weight = self.transforms[site.name], linear_of(self.block, site).weight
            rotated = transform.matrices().apply_inverse(weight) * transform.smoothing
            transform.smoothing.copy_(smooth_start(rotated, rotated_max[site.name].float(), alpha))

    def transform_parameters(self) -> list[nn.Parameter]:
        return list(self.transforms.parameters())

    def clip_parameters(self) -> list[nn.Parameter]:
        return [*self.weight_clips.parameters(), *self.input_clips.parameters()]

    def keep_invertible(self) -> None:
        """Bounds what the transforms have learnt, after a step of the optimiser."""
        for transform in self.transforms.values():
            if isinstance(transform, LearnableKronecker):
                transform.keep_invertible()

    def condition(self) -> dict[str, float]:
        """The worst over the sites: `condition` of P₁ ⊗ P₂ and `diagonal_ratio`; {} where nothing is transformed."""
        transforms = list(self.transforms.values())
        if not transforms:
            return {}
        return {
            "condition": max(transform.condition() for transform in transforms),
            "diagonal_ratio": max(map(diagonal_ratio, transforms)),
        }

    @torch.no_grad()
    def become_neutral(self) -> None:
        """Identity transforms and whole ranges: plain round-to-nearest in this block's shape."""
        for transform in self.transforms.values():
            transform.become_identity()
        for logits in self.clip_parameters():
            logits.fill_(torch.inf)

    def matrices(self) -> Matrices:
        """Every transform's matrices, once a step; empty when the recipe transforms nothing."""
        return all_matrices(dict(self.transforms))

    def prepared_weight(self, site: Site, matrices: Matrices) -> tuple[Tensor, Tensor]:
        """Weight [out, width] and bias [out] ready to be rounded: input transform, clip, then value transform."""
        linear = linear_of(self.block, site)
        weight, bias = linear.weight, linear.bias
        if site.name in matrices:
            weight = matrices[site.name].apply_inverse(weight)
        if not self.spec.weight_at(site).is_off and self.spec.clips_weights:
            groups = weight.reshape(-1, self.spec.weight.group or weight.shape[1])  # each has a clip of its own
            weight = clip_weight(groups, self.weight_clips[site.name].factors()).view_as(weight)
        if site.name == "attn_in" and matrices:
            per_head = matrices["attn_out"].right.forward
            weight, bias = transform_values(weight, per_head), transform_values(bias[:, None], per_head)[:, 0]
        return weight, bias

    def quantize_input(self, site: Site, x: Tensor, rotary: RotaryTable | None) -> Float[Tensor, "clips *tokens width"]:
        grids = self.spec.activation_at(site), self.input_clips[site.name], self.spec.special_at(site)
        return quantize_kinds(x, *grids, rotary.special if rotary is not None else None)

    def forward(
        self, x: Float[Tensor, "batch tokens channels"], rotary: RotaryTable | None = None
    ) -> Float[Tensor, "batch tokens channels"]:
        matrices = self.matrices()

        def rounded(site: Site) -> tuple[Tensor, Tensor]:
            weight, bias = self.prepared_weight(site, matrices)
            return self.spec.weight_at(site).fake_quantize(weight), bias

        return self.run(x, rotary, matrices, rounded)

    def run(
        self,
        x: Float[Tensor, "batch tokens channels"],
        rotary: RotaryTable | None,
        matrices: Matrices,
        rounded: Callable[[Site], tuple[Tensor, Tensor]],
    ) -> Float[Tensor, "batch tokens channels"]:
        """The block's output with each site's weight [out, width] and bias [out] as `rounded` gives them."""

        def linear(path: str, values: Tensor) -> tuple[Tensor, ...]:
            """One linear layer on its transformed input: [batch, tokens, channels] for each of its projections."""
            site = SITE_OF_LINEAR[path]
            weight, bias = rounded(site)
            values = self.quantize_input(site, apply_input(site, values, matrices), rotary)
            parts = len(values)
            weight, bias = weight.unflatten(0, (parts, -1)), bias.view(parts, 1, -1)
            product = MultiplyParts.apply(values.flatten(1, -2), weight, bias).unflatten(1, values.shape[1:-1])
            if parts == len(site.projections):
                return (product.squeeze(0),) if parts == 1 else product.unbind()
            return product.squeeze(0).chunk(len(site.projections), dim=-1)

        return self.block.run(x, rotary, linear)

    @torch.no_grad()
    def transformed_inputs(
        self, x: Float[Tensor, "batch tokens channels"], rotary: RotaryTable | None = None
    ) -> dict[str, Float[Tensor, "batch tokens width"]]:
        """The input of each linear layer behind its transform, by site, when the block up to it is in full precision.

        Widths differ from site to site.
        """
        matrices = self.matrices()
        seen = linear_inputs(self.block, x, rotary)[1]
        return {name: matrices[name].apply(values) if name in matrices else values for name, values in seen.items()}

    @torch.no_grad()
    def quantized_inputs(
        self, x: Float[Tensor, "batch tokens channels"], rotary: RotaryTable | None = None
    ) -> dict[str, Float[Tensor, "clips batch_tokens width"]]:
        """What each linear layer multiplies, by site, when the block up to it is in full precision."""
        transformed = self.transformed_inputs(x, rotary)
        return {site.name: self.quantize_input(site, transformed[site.name], rotary).flatten(1, -2) for site in SITES}

    @torch.no_grad()
    def freeze(self, rounders: dict[str, Rounder] | None = None) -> QuantizedBlock:
        """A new block with the codes, the fixed transforms and the diagonals folded; this one stays as it is.

        Weights are rounded to nearest, or at each site by the rounder given for it.
        """
        source, matrices = self.block, self.matrices()
        fixed = QuantizedBlock(source.norm1.normalized_shape[0], source.attn.num_heads, self.spec)
        fixed.to(source.norm1.weight.device, source.norm1.weight.dtype)
        for path in ("norm1", "norm2", "ls1", "ls2", "attn.q_norm", "attn.k_norm"):
            fixed.get_submodule(path).load_state_dict(source.get_submodule(path).state_dict())
        for path in ("norm1", "norm2", "attn.q_norm", "attn.k_norm"):
            fixed.get_submodule(path).eps = source.get_submodule(path).eps
        for site in SITES:
            weight, bias = self.prepared_weight(site, matrices)
            rounder = (rounders or {}).get(site.name, to_nearest)
            linear_of(fixed, site).store(weight, bias, self.input_clips[site.name].freeze(), rounder)
            if site.name in matrices:
                fold(site, matrices[site.name], fixed)
        return fixed


def apply_input(site: Site, x: Tensor, matrices: Matrices) -> Tensor:
    if site.name not in matrices:
        return x
    transform = matrices[site.name]
    # The values arrive with the per-head factor in them: only the mixing of heads is left to do.
    return transform.apply(x) if site.has_diagonal else transform.apply_left(x)


def transform_values(
    weight: Float[Tensor, "three_channels width"], per_head: Float[Tensor, "head_dim head_dim"]
) -> Float[Tensor, "three_channels width"]:
    """Multiplies the value rows of a stacked q, k, v weight by the per-head matrix, on the output side."""
    others, values = weight.split([2 * len(weight) // 3, len(weight) // 3])
    values = (per_head.T @ values.unflatten(0, (-1, len(per_head)))).flatten(0, 1)
    return torch.cat([others, values])


def fold(site: Site, transform: Kronecker, fixed: QuantizedBlock) -> None:
    """Puts a transform's run-time part in its place and its diagonal into the LayerNorm's weight and bias."""
    at_run_time = fixed.transforms[site.name]
    if fixed.spec.transforms in AT_RUN_TIME:
        at_run_time.left = transform.left.forward.clone()
        if site.has_diagonal:
            at_run_time.right = transform.right.forward.clone()
    if transform.smoothing is not None:
        at_run_time.smoothing = transform.smoothing.clone()
    if transform.diagonal is None:
        return
    if site.diagonal == RUN_TIME:
        at_run_time.diagonal = transform.diagonal.detach().clone()
    else:
        norm = fixed.get_submodule(site.diagonal)
        norm.weight.mul_(transform.diagonal)
        norm.bias.mul_(transform.diagonal)
