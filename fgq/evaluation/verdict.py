"""What a paired comparison allows to say, in words: better, worse, equivalent within a bound, or not decided.

"Not clear of zero" is no finding of equality: for that, the difference has to be clear of both bounds of what would be
worth caring about (two one-sided tests: Schuirmann, J. Pharmacokinetics and Biopharmaceutics 15, 1987). And of many
comparisons some stand out by chance, so the p-values of a family are corrected together before words are found.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats

from fgq.errors import FgqError
from fgq.evaluation.pairing import paired
from fgq.evaluation.report import MODEL, Report
from fgq.evaluation.statistics import LEVEL, SIGNIFICANCE, standard_error
from fgq.metrics.table import METRICS

# Smallest relative change that is worth caring about: of its two headline gains over its rival, harm at AUC@30 and
# accuracy on 7-Scenes, the published method's smaller one (arXiv:2605.15828).
WITHIN = 0.30


@dataclass(frozen=True)
class Ratio:
    """Log of a ratio of two means over scenes, paired, with the tests of it: over seeds and scenes, and over seeds."""

    mean: float
    errors: tuple[float, ...]  # standard error of each test
    freedoms: tuple[float, ...]

    def interval(self) -> tuple[float, float]:
        """The wider of the tests' 95 % intervals."""
        tail = (1 + LEVEL) / 2
        half = max(
            stats.t.ppf(tail, freedom) * error for error, freedom in zip(self.errors, self.freedoms, strict=True)
        )
        return self.mean - half, self.mean + half

    def p_above(self, bound: float) -> float:
        """One-sided p-value of the log ratio being above `bound`: the larger of the tests'."""
        return max(
            float(stats.t.sf((self.mean - bound) / error, freedom)) if error > 0 else float(self.mean <= bound)
            for error, freedom in zip(self.errors, self.freedoms, strict=True)
        )

    def p_below(self, bound: float) -> float:
        return Ratio(-self.mean, self.errors, self.freedoms).p_above(-bound)


def ratio_of(mine: Float[np.ndarray, "seeds scenes"], theirs: Float[np.ndarray, "seeds_or_1 scenes"]) -> Ratio:
    """Log of mean over mean, averaged over seeds, for positive values on the same scenes.

    The share of every seed and scene in it, to first order, is what varies: a table whose rows have the seeds' own log
    ratios as means, to which `fgq.evaluation.statistics.standard_error` applies (crossed random effects). As in
    `gain_test`, a second test over the seeds alone guards against few seeds. Of 1,000 simulated experiments with 64
    scenes and noise of seeds, scenes and both, the interval held the truth in so many:

        seeds            3             5            10
        share  0.95 - 0.99   0.94 - 0.98   0.95 - 0.97
    """
    mine, theirs = np.broadcast_arrays(mine, theirs)
    (a, b), seeds = (table.mean(1, keepdims=True) for table in (mine, theirs)), len(mine)
    shares = np.log(a / b) + mine / a - theirs / b
    error, freedom = standard_error(shares)
    if seeds == 1:
        return Ratio(float(shares.mean()), (error,), (freedom,))
    alone = float(shares.mean(1).std(ddof=1)) / math.sqrt(seeds)
    return Ratio(float(shares.mean()), (error, alone), (freedom, seeds - 1))


def verdicts(
    report: Report, reference: Report, metrics: list[str] | None = None, within: float = WITHIN
) -> pd.DataFrame:
    """A verdict for every model and metric of `report` against `reference`, as one family, by Holm's correction.

    `change`, `low` and `high` are relative: -0.25 is a quarter less than the reference's mean, with the 95 % interval
    before correction, `spread` the standard deviation over seeds of the log ratio (NaN for one seed; what
    `fgq.evaluation.power` asks for). `p_difference` and `p_equivalence` are corrected, `verdict` is in words. `within`
    is the relative change that would be worth caring about; its two ends are 1 + within and its inverse. With a single
    seed nothing is said of other draws of the calibration scenes, and the words say so. Reports pair as in
    `Report.compare`, which says what is raised; also raises FgqError for a bound that is not above 0, for unknown
    metrics and for means that have no ratio: zero, negative or NaN.
    """
    if not 0 < within < math.inf:
        raise FgqError(f"within is {within!r}: give the relative change worth caring about, such as 0.05")
    compared = report.compare(reference)
    if metrics is not None:
        missing = sorted(set(metrics) - set(compared.metric))
        if missing:
            raise FgqError(
                f"the reports have no metric {missing[0]} in common: choose from {', '.join(compared.metric)}"
            )
        compared = compared[compared.metric.isin(metrics)]
    rows, bound = [], math.log1p(within)
    for row in compared[[*MODEL, "metric", "seeds", "scenes"]].to_dict("records"):
        part = report.only(**{column: row[column] for column in [*MODEL, "metric"]}).frame
        difference, base = paired(part, reference.only(metric=row["metric"]).frame)
        if not (np.mean(difference + base, 1) > 0).all() or not (base.mean(1) > 0).all():
            raise FgqError(
                f"{row['metric']} of {row['recipe']} has no ratio to the reference: a mean is not above zero"
            )
        if row["scenes"] < 2:
            raise FgqError("a verdict needs at least two scenes")
        ratio = ratio_of(difference + base, base)
        ends = np.expm1([ratio.mean, *ratio.interval()])
        spread = ratio.errors[1] * math.sqrt(row["seeds"]) if row["seeds"] > 1 else math.nan
        differs = min(1.0, 2 * min(ratio.p_above(0.0), ratio.p_below(0.0)))
        equal = max(ratio.p_above(-bound), ratio.p_below(bound))
        numbers = dict(zip(("change", "low", "high"), ends, strict=True)) | {"spread": spread}
        rows.append(row | numbers | {"p": differs, "p_equal": equal})
    found = pd.DataFrame(rows)
    found["p_difference"], found["p_equivalence"] = holm(found.pop("p")), holm(found.pop("p_equal"))
    found["within"] = within
    return found.assign(verdict=[in_words(row) for row in found.itertuples()])


def in_words(row) -> str:
    """Of one row of `verdicts`, as `itertuples` gives it."""
    is_better = (row.change > 0) == METRICS[row.metric].higher_is_better
    words = [("better" if is_better else "worse")] if row.p_difference < SIGNIFICANCE else []
    if row.p_equivalence < SIGNIFICANCE:
        words.append(f"equivalent within {100 * row.within:g} %")
    told = ", yet ".join(words) or "not decided"
    return told if row.seeds > 1 else f"{told} (of one seed)"


def tell(found: pd.DataFrame) -> list[str]:
    """A line for each row of `verdicts`, such as: deviation_depth: better (-30 %, -41 to -21 %).

    Words are found anew from the numbers, so that a table can be stored without them.
    """
    several = len(found[MODEL].drop_duplicates()) > 1
    lines = []
    for row in found.itertuples():
        model = f"{row.recipe} W{row.weight_bits}A{row.activation_bits}, " if several else ""
        change, low, high = (100 * value for value in (row.change, row.low, row.high))
        lines.append(f"{model}{row.metric}: {in_words(row)} ({change:+.1f} %, {low:+.1f} to {high:+.1f} %)")
    return lines


def holm(p_values) -> np.ndarray:
    """Corrected so that no true zero of the family falls below 5 % in more than 5 % of families.

    Source: Holm, Scandinavian Journal of Statistics 6, 1979.
    """
    p_values = np.asarray(p_values, float)
    order = np.argsort(p_values, kind="stable")
    stepped = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    corrected = np.empty_like(p_values)
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected
