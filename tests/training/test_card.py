import json

import pandas as pd

from fgq.training.card import as_markdown, write_card
from fgq.training.settings import TrainingSettings, tiny_config
from fgq.vggt import VGGT


def test_the_card_says_what_was_measured(tmp_path):
    model, settings = VGGT(tiny_config()), TrainingSettings(steps=100, pair_steps=40, batch=8)
    numbers = {"rotation_median_deg": 3.25, "translation_median_deg": 4.5, "auc30": 71.5, "abs_rel": 0.0625}
    rows = [{"step": s, "frames": 2, "seconds": 6.0 * s, **numbers, "point_error": 0.1} for s in range(0, 101, 4)]
    table = pd.DataFrame({"metric": ["pose_auc@30"], "mean [95 % interval]": ["71.5 [70, 73]"], "unit": ["%"]})
    accuracy = {"table": table, "scenes": 9, "rotation_median": 3.254, "translation_median": 4.123}
    write_card(tmp_path, model, settings, pd.DataFrame(rows), accuracy, "2 CPU cores")
    card = (tmp_path / "README.md").read_text()
    for said in (
        f"{sum(p.numel() for p in model.parameters()):,} parameters",
        "320 pairs, then 480 clips of 4 frames",
        "10 minutes on 2 CPU cores",
        "| pose_auc@30 | 71.5 [70, 73] | % |",
        "9 scenes of 4 frames",
        "rotation 3.25°, translation direction 4.12°",
        "| 100 | 2 | 600 | 3.25 | 4.5 | 71.5 | 0.0625 | 0.1 |",  # the last step is always shown
    ):
        assert said in card
    assert json.loads((tmp_path / "training.json").read_text())["pair_steps"] == 40
    assert len(pd.read_csv(tmp_path / "curve.csv")) == len(rows)


def test_a_table_keeps_words_and_shortens_numbers():
    assert as_markdown(pd.DataFrame({"a": ["x"], "b": [1.23456]})) == "| a | b |\n| --- | --- |\n| x | 1.235 |"
