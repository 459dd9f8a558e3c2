"""Which code computes each numbered equation of the book; the line under an equation is made from this table.

python -m tests.book.equations      writes the lines anew
"""

import re
from importlib import import_module
from pathlib import Path

BOOK = Path(__file__).parents[2] / "book"
CODE = {
    "eq-alternating": "fgq.vggt.aggregator.Aggregator.outputs",
    "eq-grid": "fgq.quant.grid.Grid.fake_quantize",
    "eq-kurtosis": "fgq.quant.flatness.kurtosis",
    "eq-crest": "fgq.quant.flatness.expected_decibels",
    "eq-transplant": "fgq.affine.transplant.rescale_input",
    "eq-output-error": "fgq.quant.two_sided.two_sided_loss",
    "eq-obs": "fgq.quant.gptq.round_by_hessian",
    "eq-cholesky": "fgq.quant.gptq.free_column_factors",
    "eq-two-sided": "fgq.quant.two_sided.two_sided_loss",
    "eq-rows-split": "fgq.quant.two_sided.two_sided_loss",
    "eq-rows-follow": "fgq.quant.output_matrix.unit_factor",
    "eq-transform": "fgq.affine.kronecker.Kronecker.apply_inverse",
    "eq-smooth": "fgq.affine.diagonal.smooth_start",
    "eq-fold": "fgq.affine.learnable_block.fold",
    "eq-svd": "fgq.affine.matrix.LearnableMatrix",
    "eq-cayley": "fgq.affine.orthogonal.cayley",
    "eq-ste": "fgq.quant.symmetric.RoundSymmetrically",
    "eq-kl": "fgq.fisher.sensitivity.damages",
    "eq-kl-expanded": "fgq.fisher.damage.predict_damage",
    "eq-bartlett": "fgq.fisher.estimators.likelihood",
    "eq-taylor": "fgq.fisher.damage.predict_damage",
    "eq-ggn": "fgq.fisher.estimators.hutchinson",
    "eq-diagonal": "fgq.fisher.exact.exact_fisher",
    "eq-fisher": "fgq.fisher.gradients.squared_gradients",
    "eq-cross": "fgq.fisher.estimators.sum_of_outputs",
    "eq-weights": "fgq.fisher.table.FisherTable.calibration_weights",
    "eq-predicted-damage": "fgq.fisher.damage.predict_damage",
    "eq-bit-budget": "fgq.quant.bit_budget.allocate_bits",
    "eq-block-loss": "fgq.calibrate.objective.block_loss",
    "eq-normalised": "fgq.calibrate.objective.normalised",
    "eq-auc": "fgq.metrics.pose.auc",
}
EQUATION = re.compile(r"```\{math\}\n:label: (\S+)\n(.*?)\n```\n(?:\nIn code: `[\w.]+`\n)?", re.DOTALL)


def resolve(name: str):
    """What a dotted name means. Raises AttributeError or ImportError where it means nothing."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found = import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            found = getattr(found, part)
        return found
    raise ImportError(f"{name} is no module")


def numbered() -> dict[str, Path]:
    """The page of every numbered equation, by its label."""
    pages = {path: path.read_text(encoding="utf-8") for path in sorted(BOOK.glob("*.md"))}
    return {found[1]: path for path, text in pages.items() for found in EQUATION.finditer(text)}


def with_lines(text: str) -> str:
    """A page with the line under each of its numbered equations."""
    return EQUATION.sub(
        lambda found: f"```{{math}}\n:label: {found[1]}\n{found[2]}\n```\n\nIn code: `{CODE[found[1]]}`\n", text
    )


if __name__ == "__main__":
    for page in sorted(set(numbered().values())):
        page.write_text(with_lines(page.read_text(encoding="utf-8")), encoding="utf-8")
