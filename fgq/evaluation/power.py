"""How large an effect an experiment can find, before it is run: paired over seeds, by Student's t."""

import math

from scipy import optimize, stats

from fgq.errors import FgqError
from fgq.evaluation.statistics import SIGNIFICANCE

POWER = 0.8
MOST_SEEDS = 10_000


def power_of(change: float, spread: float, seeds: int, comparisons: int = 1) -> float:
    """Probability that a true relative `change` is found by so many seeds.

    `spread` is the standard deviation over seeds of the log of the paired ratio, so about that of the relative change;
    of a family of `comparisons` the smallest p-value has to be below 5 % over their number (Holm's first step).
    Two-sided. Raises FgqError for fewer than two seeds, a change of -1 or less, and
    a spread that is not positive.
    """
    if seeds < 2 or comparisons < 1:
        raise FgqError(
            f"{seeds} seeds and {comparisons} comparisons: there must be at least two seeds and one comparison"
        )
    if change <= -1 or not 0 < spread < math.inf:
        raise FgqError(f"change {change!r} must be above -1, and spread {spread!r} positive")
    beyond = stats.t.ppf(1 - SIGNIFICANCE / comparisons / 2, seeds - 1)
    # The square of a noncentral t is a noncentral F: both tails in one, and steady far out.
    centre = math.log1p(change) ** 2 * seeds / spread**2
    found = stats.ncf if centre > 0 else stats.f
    return float(found.sf(beyond**2, 1, seeds - 1, *([centre] if centre > 0 else [])))


def smallest_detectable(spread: float, seeds: int, comparisons: int = 1, power: float = POWER) -> float:
    """The relative increase that is found with this probability; a decrease is found from its inverse on."""

    def missing(log_change: float) -> float:
        return power_of(math.expm1(log_change), spread, seeds, comparisons) - power

    low, high = 0.0, spread
    while missing(high) < 0:
        low, high = high, 2 * high
    return math.expm1(optimize.brentq(missing, low, high))


def seeds_needed(change: float, spread: float, comparisons: int = 1, power: float = POWER) -> int:
    """The fewest seeds with which a true relative change is found with this probability.

    Raises FgqError where 10,000 are not enough.
    """
    for seeds in range(2, MOST_SEEDS):
        if power_of(change, spread, seeds, comparisons) >= power:
            return seeds
    raise FgqError(f"a change of {change:g} under a spread of {spread:g} is not found with {MOST_SEEDS} seeds")
