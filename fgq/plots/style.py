"""How every figure and table of the book looks."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler
from torch import Tensor

RECIPE_COLOURS = {
    "full precision": "#555555",
    "rtn": "#c44e52",
    "smoothquant": "#dd8452",
    "quarot": "#937860",
    "gptq": "#da8bc3",
    "quantvggt": "#8c8c8c",
    "flatquant": "#4c72b0",
    "flatquant, gptq rounding": "#64b5cd",
    "fgq": "#55a868",
    "fgq+": "#1a6b33",
}
TASK_COLOURS = {"camera": "#8172b3", "depth": "#ccb974", "points": "#64b5cd"}


def colour_of(recipe: str) -> str:
    return RECIPE_COLOURS.get(recipe, "#999999")


def panels(count: int, width: float, height: float, **shared) -> tuple[Figure, np.ndarray]:
    """A figure with a row of axes, each so many inches wide."""
    size = (width * count, height)
    figure, axes = plt.subplots(1, count, figsize=size, squeeze=False, layout="constrained", **shared)
    return figure, axes[0]


def use_book_style() -> None:
    sns.set_theme(context="notebook", style="whitegrid", rc={"figure.dpi": 110, "savefig.bbox": "tight"})


def show_table(frame: pd.DataFrame, digits: int = 4) -> Styler:
    """The rows without their numbers, as the pages style tables."""
    return frame.style.hide().format(precision=digits).set_table_attributes('class="dataframe"')


def show_comparison(rows: pd.DataFrame, columns: list[str], digits: int = 4) -> Styler:
    """Columns of a `Report.compare`, its flags `better` and `worse` told in one word."""
    verdict = np.select([rows.better.astype(bool), rows.worse.astype(bool)], ["better", "worse"], "unclear")
    return show_table(rows[columns].assign(verdict=verdict), digits)


def picture(image: Tensor) -> np.ndarray:
    return image.permute(1, 2, 0).clamp(0, 1).numpy()
