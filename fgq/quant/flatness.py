"""How evenly a tensor's values are spread: what decides how much a grid of few bits loses of it.

A per-token grid takes its step from the largest value of a token, while the token's signal is its root mean square; the
ratio of both (the crest factor of signal processing) is therefore what an outlier costs.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def kurtosis(x: Float[Tensor, "*rows width"]) -> float:
    """Fourth central moment of all values over the squared variance (Pearson's): 3 for a Gaussian, 1.8 for a uniform.

    Values that are all the same give NaN: they have no shape.
    """
    centred = x.double() - x.double().mean()
    return float(centred.pow(4).mean() / centred.square().mean().square())


def channel_magnitude(x: Float[Tensor, "*rows width"]) -> Float[Tensor, " width"]:
    """Largest magnitude of each channel over all tokens."""
    return x.detach().abs().flatten(0, -2).amax(0)


def outlier_ratio(x: Float[Tensor, "*rows width"]) -> float:
    """Magnitude of the largest channel over that of the median channel (the lower one of two)."""
    magnitude = channel_magnitude(x)
    return float(magnitude.max() / magnitude.median())


def crest(x: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows"]:
    """Largest magnitude over root mean square of every token: 1 if all are equally large, √width if only one is not 0.

    A token of zeros gives NaN.
    """
    return x.abs().amax(-1) / x.square().mean(-1).sqrt()


def expected_decibels(crest: Float[Tensor, "*rows"], bits: int) -> Float[Tensor, "*rows"]:
    """Signal-to-noise ratio of tokens on a symmetric grid, if rounding errors are spread evenly over a step.

    The variance of an error is then step² / 12 with step = largest magnitude / (2^(bits - 1) - 1), so that the ratio is
    12 (2^(bits - 1) - 1)² / crest². Too low where most values round to zero, as no error exceeds its value then.
    """
    return 10 * math.log10(12) + 20 * torch.log10((2 ** (bits - 1) - 1) / crest)


def decibels(x: Float[Tensor, "*rows width"], rounded: Float[Tensor, "*rows width"]) -> float:
    """Signal-to-noise ratio 10 log10(mean x² / mean (rounded - x)²); infinity where nothing was rounded."""
    return float(10 * torch.log10(x.square().mean() / (rounded - x).square().mean()))
