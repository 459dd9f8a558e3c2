"""What pages say of themselves."""

import platform

import nbformat

from fgq.provenance.record import deciding_versions
from fgq.runs.page import below_title, cost_box, footer, reassigned, with_costs

RECORD = {
    "run": "my.yaml",
    "seconds": 300.0,
    "peak_memory_bytes": 2_500_000_000,
    "peak_gpu_bytes": None,
    "device": "CPU, 2 cores",
    "commit": "0123456789abcdef",
    "finished": "2026-01-02T03:04:05+00:00",
    "platform": platform.platform(),
    "versions": {"python": "3.11.1", "fgq": "0.1.0"} | deciding_versions(),
    "energy_joules": "not known: no meter can be read here",
    "cells": [{"cell": 1, "line": "a", "seconds": 1.0}, {"cell": 2, "line": "b", "seconds": 40.25}],
}


def test_the_box_has_minutes_memory_device_and_commit():
    assert "\n5 minutes; 2.5 GB of memory; CPU, 2 cores; commit 0123456789ab.\n" in cost_box(RECORD)
    on_gpu = cost_box(RECORD | {"seconds": 41.4, "peak_gpu_bytes": 3_620_000_000, "device": "A GPU"})
    assert "\n41 seconds; 2.5 GB of memory; 3.6 GB of GPU memory; A GPU; commit 0123456789ab.\n" in on_gpu


def test_a_page_of_another_environment_says_so():
    assert "not run in this environment" not in cost_box(RECORD)
    assert "not run in this environment: platform Elsewhere there" in cost_box(RECORD | {"platform": "Elsewhere"})
    other = RECORD | {"versions": RECORD["versions"] | {"torch": "1.0"}}
    assert "not run in this environment: torch 1.0 there" in cost_box(other)


def test_the_footer_has_energy_and_the_slowest_cell_where_they_are_known():
    assert "energy not known: no meter can be read here" in footer(RECORD)
    assert "energy of GPU 0 41 J" in footer(RECORD | {"energy_joules": {"GPU 0": 41.3}})
    assert "slowest of 2 code cells: number 2, 40.2 s" in footer(RECORD)
    old = {name: value for name, value in RECORD.items() if name not in ("cells", "energy_joules", "peak_gpu_bytes")}
    assert footer(old).startswith('<p class="provenance">Computed by run my.yaml; finished 2026-01-02')
    assert "<b>" not in footer(RECORD | {"run": "<b>.yaml"})


def test_the_box_stands_below_the_title_and_the_notebook_stays_as_it_was():
    assert below_title("(label)=\n# Title\nText", "BOX").splitlines() == ["(label)=", "# Title", "", "BOX", "", "Text"]
    cells = [nbformat.v4.new_markdown_cell("Before"), nbformat.v4.new_markdown_cell("# Title\n\nText")]
    notebook = nbformat.v4.new_notebook(cells=[*cells, nbformat.v4.new_code_cell("1")])
    shown = with_costs(notebook, RECORD)
    assert [cell.source for cell in notebook.cells] == ["Before", "# Title\n\nText", "1"]
    assert shown.cells[1].source.startswith("# Title\n\n```{admonition} What this page cost")
    assert "Computed by" in shown.cells[-1].source and len(shown.cells) == 4
    assert nbformat.writes(shown) == nbformat.writes(with_costs(notebook, RECORD))
    nbformat.validate(shown)


def test_the_parameters_of_the_run_stand_where_the_chapter_s_own_stood():
    own = 'name = "ä"  # of a model\nways = {\n    "a": 1,\n}\ncount = 4\n# the end'
    later = '# Parameters\nname = "other"\nways = {"b": [1, 2]}'
    values = 'name = "other"  # of a model\nways = {"b": [1, 2]}\ncount = 4\n# the end'
    assert reassigned(own, later) == values and reassigned(own, "") == own
    cells = [
        nbformat.v4.new_code_cell(text, metadata={"tags": [tag]})
        for text, tag in ((own, "parameters"), (later, "injected-parameters"))
    ]
    shown = with_costs(nbformat.v4.new_notebook(cells=[*cells, nbformat.v4.new_code_cell("1")]), RECORD)
    assert [cell.source for cell in shown.cells if cell.cell_type == "code"] == [values, "1"]
    assert cells[0].source == own
