import io
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from fgq.evaluation import METRICS, Report


def made(values, recipe="rtn", metric="depth_abs_rel"):
    about = METRICS[metric]
    rows = [
        {"run": "", "recipe": recipe, "weight_bits": 4, "activation_bits": 4, "seed": seed, "dataset": "made",
         "scene": f"s{n}", "task": about.task, "metric": metric, "value": value, "unit": about.unit,
         "higher_is_better": about.higher_is_better, "valid_pixels": 1, "seconds": 0.0, "note": ""}
        for seed, row in enumerate(values) for n, value in enumerate(row)
    ]  # fmt: skip
    return Report(pd.DataFrame(rows))


@pytest.fixture
def report():
    return made(np.random.default_rng(0).normal(1, 0.1, (2, 30)))


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.cells, self.headings = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        place = {"td": self.cells, "h2": self.headings}.get(self.tags[-1][0] if self.tags else "")
        if place is not None and data.strip():
            place.append(data.strip())


def test_the_page_holds_the_summary_and_loads_nothing(report):
    base = made(np.ones((1, 30)), "full precision")
    page = Page(report.to_html(reference=base))
    assert len(page.headings) == 2 and [tag for tag, _ in page.tags].count("table") == 2
    row, difference = report.summary().iloc[0], report.compare(base).iloc[0]
    for value in (row["mean"], row.low, row.high, difference.difference, difference.npd):
        assert f"{value:.4g}" in page.cells
    assert not any({"src", "href"} & set(attributes) for _, attributes in page.tags)
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in page.tags}
    assert "url(" not in report.to_html() and "@import" not in report.to_html()


def test_a_name_stays_a_text(report):
    evil = Report(report.frame.assign(recipe="<script>x|y</script>"))
    assert "script" not in {tag for tag, _ in Page(evil.to_html(title="<script>")).tags}
    assert "<script>x|y</script>" in "".join(Page(evil.to_html()).cells)
    for column in ("recipe", "metric", "unit"):
        marked = Report(report.frame.assign(**{column: "<script>\nx|y\r</script>"})).to_markdown()
        lines = marked.splitlines()
        assert len(lines) == 3 and lines[2].count("|") - lines[2].count("\\|") == 8
        assert "<" not in marked and "&lt;script&gt; x\\|y &lt;/script&gt;" in marked


def test_csv_is_what_save_writes(report, tmp_path):
    report.save(tmp_path / "report.csv")
    assert (tmp_path / "report.csv").read_text() == report.to_csv()
    text = pd.read_csv(io.StringIO(report.to_csv()))
    np.testing.assert_allclose(text.value, report.frame.value, rtol=1e-8)
    assert text.columns.tolist() == report.frame.columns.tolist() and text.scene.equals(report.frame.scene)
