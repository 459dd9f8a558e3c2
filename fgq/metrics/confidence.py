"""Does a model know where it is wrong? Sparsification: errors of what is left when the least confident goes.

Sparsification error and its area (AUSE) as in Ilg et al., ECCV 2018 (arXiv:1802.07095).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from fgq.errors import FgqError

Pixels = Float[np.ndarray, " pixels"]


@dataclass(frozen=True)
class Sparsification:
    """Mean error of the pixels that are kept, over the mean error of all, for every number of kept pixels."""

    kept: Pixels  # share of the pixels that are kept: 1/n, 2/n, …, 1
    by_confidence: Pixels  # the most confident are kept
    by_error: Pixels  # those of the smallest error are kept: no confidence can do better

    @property
    def ause(self) -> float:
        """Area between both curves, over the share removed.

        0 for a confidence that orders pixels as their errors do. One that says nothing gives the area above the
        oracle's curve: 1/2 where errors are uniform from zero up. One that is worse than nothing gives more.
        """
        return float((self.by_confidence - self.by_error).mean())


def sparsification(confidence: Pixels, error: Pixels) -> Sparsification:
    """The curves for the pixels of one scene; only the order of `confidence` counts, `error` is at least zero.

    Pixels of one confidence stand for the mean of their errors, which is what a draw among them gives on average; so a
    constant confidence leaves a flat curve. Raises FgqError for no pixels, and values that are not finite.
    """
    confidence, error = np.asarray(confidence, dtype=float), np.asarray(error, dtype=float)
    if not len(error):
        raise FgqError("no pixel has a valid error to order by confidence")
    if not (np.isfinite(confidence).all() and np.isfinite(error).all()):
        raise FgqError("confidences or errors hold NaN or infinity: they cannot be ordered")
    kept = np.arange(1, len(error) + 1) / len(error)
    total = error.mean()
    if total == 0:  # nothing is wrong anywhere, and no order is better than another
        return Sparsification(kept, np.ones_like(kept), np.ones_like(kept))
    order = np.argsort(-confidence)
    ranked = confidence[order]
    group = np.cumsum(np.diff(ranked, prepend=ranked[0]) != 0)  # of equal confidence
    typical = np.bincount(group, weights=error[order]) / np.bincount(group)
    curves = (running_mean(values) / total for values in (typical[group], np.sort(error)))
    return Sparsification(kept, *curves)


def mean_curves(found: Sequence[Sparsification], kept: Pixels) -> tuple[Pixels, Pixels]:
    """By confidence and by error: means over scenes, whose numbers of pixels may differ, at these kept shares."""
    curves = [[np.interp(kept, s.kept, curve) for curve in (s.by_confidence, s.by_error)] for s in found]
    return tuple(np.mean(curves, axis=0))


def running_mean(values: Pixels) -> Pixels:
    return np.cumsum(values) / np.arange(1, len(values) + 1)
