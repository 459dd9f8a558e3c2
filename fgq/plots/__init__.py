"""Figures and tables that several chapters share. Figures are matplotlib's; `side_by_side` is a page to be turned."""

from fgq.plots.accuracy import show_accuracy_curves, show_depth_alignment, show_point_alignment, show_sparsification
from fgq.plots.bench import show_bench
from fgq.plots.comparison import show_comparison_changes
from fgq.plots.model import (
    show_costs,
    show_fisher,
    show_on_grid,
    show_site_statistics,
    show_training_curve,
    training_curve,
)
from fgq.plots.recipes import (
    CLEAR,
    DEVIATION_LABELS,
    UNCLEAR,
    show_benchmark,
    show_benchmark_table,
    show_degradation,
    show_deviations,
    show_scene_scatter,
    show_seconds,
    show_switches,
    show_verdict_table,
    show_verdicts,
)
from fgq.plots.scenes import show_depth, show_scene, show_top_view, show_worst_scenes
from fgq.plots.side_by_side import side_by_side
from fgq.plots.style import RECIPE_COLOURS, TASK_COLOURS, picture, show_comparison, show_table, use_book_style
from fgq.plots.sweep import show_sweep
