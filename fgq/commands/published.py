"""A report beside the numbers of the paper, as text."""

from fgq.errors import FgqError
from fgq.evaluation import Report

SHOWN = ["recipe", "weight_bits", "activation_bits", "metric", "unit", "published", "mean", "low", "high"]


def beside(report: Report) -> str:
    """The table with a line for each set of differences, or why there is none."""
    from fgq.evaluation.published import beside_published

    try:
        both = beside_published(report)
    except FgqError as error:
        return f"\nBeside the paper's: {error}"
    told = [f"\nThe paper's protocol: {both.published_protocol.iloc[0]} ({both.source.iloc[0]})"]
    for differs, part in both.groupby("differs", sort=False):
        told += [part[SHOWN].to_string(index=False), f"What differs: {differs}"]
    return "\n".join(told)
