"""What a page says of itself: at a chapter's head what it cost, its parameters, at its foot where it came from."""

import ast
import platform
from collections.abc import Mapping
from html import escape

import nbformat

from fgq.provenance.record import deciding_versions
from fgq.runs.chapters import INJECTED_TAG, PARAMETERS_TAG, is_tagged

GIGABYTE = 1e9
NO_CODE = "This page has no code: nothing was computed for it."


def with_costs(notebook: nbformat.NotebookNode, record: Mapping) -> nbformat.NotebookNode:
    """A copy of an executed notebook with the cost box below its title and the footer at its end.

    Its cell of parameters has the values of the run, which otherwise stand in a second cell below it.
    """
    cells = with_values([nbformat.from_dict(cell) for cell in notebook.cells])
    for cell in cells:
        if cell.cell_type == "markdown" and has_title(cell.source):
            cell.source = below_title(cell.source, cost_box(record))
            break
    end = nbformat.v4.new_markdown_cell(footer(record))
    end.pop("id")
    if any("id" in cell for cell in cells):
        end["id"] = "provenance"  # the same every time
    return nbformat.from_dict(notebook | {"cells": [*cells, end]})


def with_values(cells: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    injected = "\n".join(cell.source for cell in cells if is_tagged(cell, INJECTED_TAG))
    for cell in cells:
        if is_tagged(cell, PARAMETERS_TAG):
            cell.source = reassigned(cell.source, injected)
    return [cell for cell in cells if not is_tagged(cell, INJECTED_TAG)]


def reassigned(source: str, later: str) -> str:
    """Assignments of `source` with the values that `later` gives to their names; comments stay."""
    values = {name: ast.get_source_segment(later, node.value) for name, node in assignments(later)}
    lines = source.splitlines()
    for name, node in reversed(assignments(source)):
        if name in values:
            behind = lines[node.end_lineno - 1].encode()[node.end_col_offset :].decode()
            lines[node.lineno - 1 : node.end_lineno] = [f"{name} = {values[name]}{behind}"]
    return "\n".join(lines)


def assignments(source: str) -> list[tuple[str, ast.Assign]]:
    found = [node for node in ast.parse(source).body if isinstance(node, ast.Assign)]
    return [(node.targets[0].id, node) for node in found]


def with_footer(text: str) -> str:
    """A page of words, which nothing was computed for, with its footer."""
    return f"{text.rstrip()}\n\n{foot(NO_CODE)}\n"


def has_title(text: str) -> bool:
    return any(line.startswith("# ") for line in text.splitlines())


def below_title(text: str, box: str) -> str:
    lines = text.splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith("# ")) + 1
    return "\n".join([*lines[:place], "", box, "", *lines[place:]])


def cost_box(record: Mapping) -> str:
    """Minutes, memory, device and commit; and a warning where the record is of another environment than this one."""
    facts = [in_minutes(record["seconds"]), f"{record['peak_memory_bytes'] / GIGABYTE:.1f} GB of memory"]
    if record.get("peak_gpu_bytes"):
        facts.append(f"{record['peak_gpu_bytes'] / GIGABYTE:.1f} GB of GPU memory")
    facts += [record["device"], f"commit {record['commit'][:12]}"]
    lines = ["```{admonition} What this page cost", ":class: note", "", "; ".join(facts) + "."]
    elsewhere = other_environment(record)
    if elsewhere:
        lines += ["", f"It was not run in this environment: {elsewhere}."]
    return "\n".join([*lines, "```"])


def footer(record: Mapping) -> str:
    """One line: run, time, versions, energy, and the cell that took longest."""
    facts = [f"run {record['run']}", f"finished {record['finished']}", record["platform"]]
    facts += [f"{name} {version}" for name, version in record["versions"].items() if name in ("python", "fgq", "torch")]
    energy = record.get("energy_joules")
    if isinstance(energy, Mapping):
        facts += [f"energy of {name} {joules:.0f} J" for name, joules in energy.items()]
    elif energy:
        facts.append(f"energy {energy}")
    cells = record.get("cells") or []
    if cells:
        slowest = max(cells, key=lambda cell: cell["seconds"])
        facts.append(f"slowest of {len(cells)} code cells: number {slowest['cell']}, {slowest['seconds']:.1f} s")
    return foot(f"Computed by {'; '.join(facts)}.")


def foot(text: str) -> str:
    return f'<p class="provenance">{escape(text)}</p>'


def other_environment(record: Mapping) -> str:
    """How the record's platform and versions differ from those here, in words; empty where they do not."""
    here = {"platform": platform.platform()} | deciding_versions()
    then = {"platform": record["platform"]} | dict(record["versions"])
    return ", ".join(
        f"{name} {then.get(name)} there, {value} here" for name, value in here.items() if then.get(name) != value
    )


def in_minutes(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 100 else f"{seconds / 60:.0f} minutes"
