"""Where the diagonal of a transform starts."""

from jaxtyping import Float
from torch import Tensor

SMALLEST = 1e-5  # of an input's magnitude and of the diagonal itself


def smooth_start(
    weight: Float[Tensor, "out width"], input_max: Float[Tensor, " width"], alpha: float
) -> Float[Tensor, " width"]:
    """d = w_max^(1 - alpha) / x_max^alpha for each input channel (SmoothQuant, arXiv:2211.10438, as FlatQuant uses it).

    `input_max` is the largest magnitude of each channel over the calibration set.
    """
    weight_max = weight.abs().amax(0)
    return (weight_max ** (1 - alpha) / input_max.clamp(min=SMALLEST) ** alpha).clamp(min=SMALLEST)
