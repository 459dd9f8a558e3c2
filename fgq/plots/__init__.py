"""Figures and tables that several chapters share. Figures are matplotlib's; `side_by_side` is a page to be turned."""

from fgq.plots.alignment import show_depth_alignment, show_point_alignment
from fgq.plots.costs import show_costs
from fgq.plots.curves import show_accuracy_curves, show_sparsification
from fgq.plots.damage import DEVIATION_LABELS, show_benchmark, show_benchmark_table, show_deviations
from fgq.plots.degradation import show_degradation, show_scene_scatter
from fgq.plots.fisher import show_fisher
from fgq.plots.flatness import show_on_grid, show_site_statistics
from fgq.plots.reconstruction import show_depth, show_scene, show_top_view
from fgq.plots.side_by_side import side_by_side
from fgq.plots.style import (
    RECIPE_COLOURS,
    TASK_COLOURS,
    picture,
    show_comparison,
    show_table,
    use_book_style,
)
from fgq.plots.switches import CLEAR, UNCLEAR, show_switches
from fgq.plots.training import show_training_curve, training_curve
from fgq.plots.worst import show_worst_scenes
