"""Figures and tables that several chapters share. A figure is matplotlib's, and nothing else is drawn."""

from fgq.plots.costs import show_costs
from fgq.plots.damage import DEVIATION_LABELS, show_benchmark, show_deviations
from fgq.plots.fisher import show_fisher
from fgq.plots.reconstruction import camera_centres, rotation_angles, show_depth, show_scene, show_top_view
from fgq.plots.style import (
    RECIPE_COLOURS,
    TASK_COLOURS,
    picture,
    show_comparison,
    show_table,
    use_book_style,
)
from fgq.plots.training import show_training_curve, training_curve

__all__ = [
    "DEVIATION_LABELS",
    "RECIPE_COLOURS",
    "TASK_COLOURS",
    "camera_centres",
    "picture",
    "rotation_angles",
    "show_benchmark",
    "show_comparison",
    "show_costs",
    "show_depth",
    "show_deviations",
    "show_fisher",
    "show_scene",
    "show_table",
    "show_top_view",
    "show_training_curve",
    "training_curve",
    "use_book_style",
]
