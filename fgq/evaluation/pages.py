"""A report's tables for people: Markdown, and an HTML page of its own."""

from html import escape

import pandas as pd

from fgq.quant.bits import Bits

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em; }
table { border-collapse: collapse; margin-bottom: 2em; }
th, td { padding: 2px 10px; border-bottom: 1px solid #ddd; text-align: right; }
th { background: #f3f3f3; position: sticky; top: 0; }
"""


def summary_markdown(summary: pd.DataFrame, digits: int) -> str:
    """`Report.summary` as a Markdown table: mean with interval, seeds × scenes."""
    lines = ["| recipe | bits | metric | unit | mean [95 % interval] | seeds × scenes | failed |", "|" + "---|" * 7]
    for row in summary.itertuples():
        mean, low, high = (f"{value:.{digits}g}" for value in (row.mean, row.low, row.high))
        bits = str(Bits(row.weight_bits, row.activation_bits))
        cells = [cell_text(row.recipe), bits, cell_text(row.metric), cell_text(row.unit), f"{mean} [{low}, {high}]"]
        lines.append("| " + " | ".join([*cells, f"{row.seeds} × {row.scenes}", str(row.failed)]) + " |")
    return "\n".join(lines)


def cell_text(text: str) -> str:
    """A name that cannot end its cell or its line, and is no tag."""
    return escape(" ".join(str(text).splitlines()), quote=False).replace("\\", "\\\\").replace("|", "\\|")


def html_page(title: str, tables: dict[str, pd.DataFrame], digits: int) -> str:
    """A page with the tables under their headings; it loads nothing, and texts in the tables stay texts."""
    parts = [f"<h2>{escape(heading)}</h2>\n{html_table(table, digits)}" for heading, table in tables.items()]
    head = f'<meta charset="utf-8">\n<title>{escape(title)}</title>\n<style>{STYLE}</style>'
    body = "\n".join([f"<h1>{escape(title)}</h1>", *parts])
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{body}\n</body>\n</html>\n'


def html_table(table: pd.DataFrame, digits: int) -> str:
    """Numbers with `digits` significant digits."""

    def shown(value: object) -> str:
        return f"{value:.{digits}g}" if isinstance(value, float) else escape(str(value))

    return table.style.hide().format(shown).to_html()
