"""What the chapter on evaluation says of the adjudication is what the verdict finds in the stored table."""

from pathlib import Path

import pytest

from fgq.evaluation import DEVIATIONS
from fgq.evaluation.verdict import in_words
from fgq.provenance.results import load_result

BOOK = Path(__file__).parents[2] / "book"


@pytest.fixture(scope="module")
def words():
    table, _ = load_result(BOOK, "adjudication-w4a8")
    found = table[table.part == "verdict"]
    return {(row.recipe, row.metric): in_words(row) for row in found.itertuples() if row.rival != "flatquant, nearest"}


def test_two_sided_rounding_is_better_in_all_four_and_its_shuffled_control_in_none(words):
    assert {words["flatquant, two-sided", metric] for metric in DEVIATIONS} == {"better"}
    assert not any("better" in words["flatquant, shuffled", metric] for metric in DEVIATIONS)
    table, _ = load_result(BOOK, "adjudication-w4a8")
    changes = table[(table.part == "verdict") & (table.recipe == "flatquant, two-sided")].change
    assert -0.45 < changes.min() and changes.max() < -0.2  # "by a quarter to four tenths"


def test_channel_weights_are_equivalent_to_none_but_for_the_rotation_behind_gptq(words):
    same = "equivalent within 30 %"
    assert {words["fgq, two-sided", metric] for metric in DEVIATIONS} == {same}
    assert [words["fgq, gptq", metric] for metric in DEVIATIONS] == ["not decided", same, same, same]


def test_learning_with_the_weights_does_not_lower_what_they_weight():
    table, _ = load_result(BOOK, "adjudication-w4a8")
    losses = table[table.part == "held out"].set_index(["recipe", "seed", "block"])["mean"].unstack("recipe")
    for rounding in ("nearest", "gptq", "two-sided"):
        assert (losses[f"fgq, {rounding}"] / losses[f"flatquant, {rounding}"]).mean() > 0.99
