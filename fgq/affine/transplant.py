"""Outlier transplant: a model that computes the same function, but whose linear layers read a few very large channels.

A stress test, not a model of any real network. A channel is multiplied by 2^k where it is made, and the matching input
column of the linear layer that reads it divided by 2^k, so that every product stays what it was, to the last bit. That
is the folding of SmoothQuant (arXiv:2211.10438) run backwards.
"""

import copy
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from fgq.affine.sites import RUN_TIME, SITES, Site, linear_inputs, linear_of
from fgq.errors import FgqError
from fgq.quant.flatness import channel_magnitude
from fgq.vggt.aggregator import run_block
from fgq.vggt.attention import Block
from fgq.vggt.model import VGGT
from fgq.vggt.rotary import RotaryTable

Images = Float[Tensor, "batch frames 3 height width"]

# GELU lies before fc2: no factor can pass it.
RESCALABLE = tuple(site.name for site in SITES if site.diagonal != RUN_TIME)


@torch.no_grad()
def transplant_outliers(
    model: VGGT,
    images: Images,
    ratio: float = 50.0,
    channels: int = 4,
    sites: Sequence[str] = RESCALABLE,
    seed: int = 0,
) -> VGGT:
    """A copy of a full-precision model with `channels` outlier channels in each block, at each of `sites`.

    On `images` the magnitudes of the outliers lie between `ratio` and a quarter of it, evenly in their logarithm, times
    that of the median channel. The factors are rounded to powers of two, so a magnitude may miss its mark by √2 either
    way. The channels are drawn from `seed` once a site and are the same in all blocks, as in large language models
    (arXiv:2208.07339). `model` is left as it was.
    Raises FgqError for a quantized block, an unknown site, a ratio below 1 and too many channels.
    """
    check_request(model, ratio, channels, sites)
    model = copy.deepcopy(model)
    width = model.config.embed_dim
    generator = torch.Generator().manual_seed(seed)
    chosen = {site: torch.randperm(width, generator=generator)[:channels] for site in RESCALABLE}
    target = ratio * torch.logspace(0, -2, channels, base=2) if channels > 1 else torch.tensor([ratio])
    for name, block, tokens, rotary in block_inputs(model, images):
        inputs = linear_inputs(block, tokens, rotary)[1]
        for site in (site for site in SITES if site.name in sites):
            magnitude = channel_magnitude(inputs[site.name]).double().cpu()
            picked = chosen[site.name]
            others = torch.ones(width, dtype=torch.bool).index_fill(0, picked, False)
            if not (magnitude[picked] > 0).all():
                raise FgqError(f"block {name}: a channel of {site.name} is 0 on these images: take another seed")
            wanted = (target.double() * magnitude[others].median() / magnitude[picked]).clamp(min=1)
            factors = torch.ones(width, dtype=torch.float64).index_copy(0, picked, wanted.log2().round().exp2())
            rescale_input(block, site, factors)
    return model


def block_inputs(model: VGGT, images: Images) -> Iterator[tuple[str, Block, Tensor, RotaryTable]]:
    """Name, block, its input tokens as it takes them and its rotary table, for every block in running order."""
    layout = model.aggregator.layout(images)
    tokens = model.aggregator.embed(images)
    for name, block in model.aggregator.blocks():
        after = run_block(block, name, tokens, layout)  # before the caller may change the block
        yield name, block, *layout.arguments(name, tokens)
        tokens = after


@torch.no_grad()
def rescale_input(block: Block, site: Site, factors: Float[Tensor, " width"]) -> None:
    """Multiplies the input of the linear layer at a site by `factors`, in place, and divides the layer's columns.

    What makes that input takes the factors: a LayerNorm's weight and bias, or the value rows of q, k, v, whose channels
    attention only averages over tokens. No factor may be 0. Raises FgqError for a site that nothing can be folded into.
    """
    if site.name not in RESCALABLE:
        raise FgqError(f"the input of {site.name} cannot be rescaled: GELU lies before it; choose from {RESCALABLE}")
    reader = linear_of(block, site)
    factors = factors.to(reader.weight)
    reader.weight.div_(factors)
    if site.has_diagonal:
        norm = block.get_submodule(site.diagonal)
        norm.weight.mul_(factors)
        norm.bias.mul_(factors)
    else:
        qkv = block.attn.qkv
        qkv.weight.chunk(3)[2].mul_(factors[:, None])
        qkv.bias.chunk(3)[2].mul_(factors)


def check_request(model: VGGT, ratio: float, channels: int, sites: Sequence[str]) -> None:
    for name, block in model.aggregator.blocks():
        if type(block) is not Block:
            raise FgqError(f"block {name} is a {type(block).__name__}: transplant into the full-precision model")
    for site in sites:
        if site not in RESCALABLE:
            raise FgqError(f"site {site!r} cannot be rescaled: choose from {', '.join(RESCALABLE)}")
    if not 1 <= ratio < float("inf"):
        raise FgqError(f"ratio must be a number of at least 1, not {ratio!r}")
    if not 0 < channels <= model.config.embed_dim // 2:
        raise FgqError(f"channels must lie between 1 and half the width, {model.config.embed_dim // 2}, not {channels}")
