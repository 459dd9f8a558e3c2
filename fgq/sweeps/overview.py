"""The page of a sweep: one file that loads nothing, with every point, its costs and the way to its folder."""

import io
import re
from html import escape

import pandas as pd

from fgq.evaluation.pages import STYLE
from fgq.metrics.table import DEVIATIONS, HEADLINE
from fgq.sweeps.folder import DONE, STATES, SweepFolder
from fgq.sweeps.sweep_file import Sweep
from fgq.sweeps.table import COSTS, column_of
from fgq.writing import write_text

MOST_METRICS = 4  # shown and drawn; the table of results has all
MORE_STYLE = """
body { max-width: none; }
th { cursor: pointer; user-select: none; }
td.text, th.text { text-align: left; }
td.failed { color: #a00; } td.left, td.running { color: #777; }
svg { max-width: 100%; height: auto; }
.wide { overflow-x: auto; }
"""
SORT = """
for (const head of document.querySelectorAll("th")) {
  head.tabIndex = 0;
  const sort = () => {
    const body = head.closest("table").tBodies[0], up = head.getAttribute("aria-sort") !== "ascending";
    const key = row => row.cells[head.cellIndex].dataset.value;
    const order = (a, b) => {
      if (a === "" || b === "") return (a === "") - (b === "");
      const difference = isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b;
      return up ? difference : -difference;
    };
    body.append(...[...body.rows].sort((a, b) => order(key(a), key(b))));
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
  };
  head.addEventListener("click", sort);
  head.addEventListener("keydown", event => { if (event.key === "Enter") sort(); });
}
"""


def write_overview(sweep: Sweep, folder: SweepFolder, table: pd.DataFrame) -> None:
    """`table` as `fgq.sweeps.table.results` makes it."""
    write_text(folder.overview, page(sweep, table), "the overview")


def page(sweep: Sweep, table: pd.DataFrame) -> str:
    states = table.groupby("point", sort=False).state.first().value_counts()
    counts = ", ".join(f"{state} {states.get(state, 0)}" for state in STATES)
    metrics = chosen_metrics(table)
    finished = table.finished.dropna()
    commits = ", ".join(sorted({str(commit)[:12] for commit in table.commit.dropna()}))
    facts = [counts, *([f"last finished {finished.max()}"] if len(finished) else [])]
    facts += [f"commit {commits}"] if commits else []
    body = [f"<h1>{escape(sweep.name)}</h1>", f"<p>{escape(sweep.description)}</p>" if sweep.description else ""]
    body += [f"<p>{escape('; '.join(facts))}. All numbers: <a href='results.csv'>results.csv</a>.</p>"]
    figure = drawing(sweep, table, metrics)
    if figure:
        told = "A dot for every point, by what varies, one panel a metric; a bar at the mean"
        body += [f'<figure role="img" aria-label="{told}">{figure}</figure>']
    body += [
        "<p>A click on a column's head sorts by it.</p>",
        '<div class="wide">',
        points_table(sweep, table, metrics),
    ]
    head = f'<meta charset="utf-8">\n<title>{escape(sweep.name)}</title>\n<style>{STYLE}{MORE_STYLE}</style>'
    content = "\n".join([*body, "</div>", f"<script>{SORT}</script>"])
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{content}\n</body>\n</html>\n'


def chosen_metrics(table: pd.DataFrame) -> list[str]:
    """The deviations from full precision, else the headline metrics, else the first there are."""
    known = table.metric.dropna().unique().tolist()
    for wanted in (list(DEVIATIONS), list(HEADLINE), known):
        found = [name for name in wanted if name in known]
        if found:
            return found[:MOST_METRICS]
    return []


def drawing(sweep: Sweep, table: pd.DataFrame, metrics: list[str]) -> str:
    """As SVG; empty where there is nothing to draw."""
    names = [column_of(name) for name in sweep.varying if name != "seed"]
    rows = table[table.metric.isin(metrics) & table.value.notna()]
    if rows.empty:
        return ""
    import matplotlib

    matplotlib.use("Agg", force=False)
    from fgq.plots import show_sweep

    labels = [", ".join(str(row[name]) for name in names if pd.notna(row[name])) for row in rows.to_dict("records")]
    with matplotlib.rc_context({"svg.hashsalt": sweep.name, "svg.fonttype": "none"}):
        figure = show_sweep(rows.assign(label=labels), metrics, sweep.name)
        told = io.StringIO()
        figure.savefig(told, format="svg", metadata={"Date": None})
        matplotlib.pyplot.close(figure)
    # Without what stands before the drawing in a file, and without its metadata, which name addresses.
    return re.sub(r"^.*?(?=<svg)|<metadata>.*?</metadata>", "", told.getvalue(), flags=re.DOTALL)


def points_table(sweep: Sweep, table: pd.DataFrame, metrics: list[str]) -> str:
    names = [column_of(name) for name in sweep.varying]
    heads = ["point", "state", "attempts", *names, *metrics, *COSTS[:4], "error"]
    texts = {"point", "state", "device", "error", *(n for n in names if not pd.api.types.is_numeric_dtype(table[n]))}
    lines = ["<table>", "<thead><tr>"]
    lines += [f"<th{' class=text' if head in texts else ''}>{escape(head)}</th>" for head in heads]
    lines += ["</tr></thead>", "<tbody>"]
    for point, rows in table.groupby("point", sort=False):
        row = rows.iloc[0].to_dict() | dict(zip(rows.metric, rows.value, strict=True))
        cells = [cell(head, row.get(head), head in texts, row["state"]) for head in heads]
        cells[0] = (
            f'<td class="text" data-value="{escape(point)}"><a href="points/{escape(point)}/">{escape(point)}</a></td>'
        )
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return "\n".join([*lines, "</tbody>", "</table>"])


def cell(head: str, value: object, is_text: bool, state: str) -> str:
    empty = value is None or (isinstance(value, float) and pd.isna(value))
    kinds = [*(["text"] if is_text else []), *([state] if head == "state" and state != DONE else [])]
    shown = "" if empty else f"{value:.4g}" if isinstance(value, float) else str(value)
    if head.endswith("_bytes") and not empty:
        shown = f"{value / 1e9:.2f} GB"
    name = f' class="{" ".join(kinds)}"' if kinds else ""
    return f'<td{name} data-value="{"" if empty else escape(str(value))}">{escape(shown)}</td>'
