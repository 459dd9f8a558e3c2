"""What the chapter on evaluation says of the adjudication is what the verdict finds in the stored tables."""

from pathlib import Path

import pytest

from fgq.evaluation import DEVIATIONS
from fgq.evaluation.verdict import in_words
from fgq.provenance.results import load_result

BOOK = Path(__file__).parents[2] / "book"
SAME = "equivalent within 30 %"
TO_GPTQ, TO_NEAREST = "flatquant, gptq", "flatquant, nearest"


@pytest.fixture(scope="module", params=["w4a8", "w4a4"])
def setting(request):
    return request.param


@pytest.fixture(scope="module")
def table(setting):
    return load_result(BOOK, f"adjudication-{setting}")[0]


@pytest.fixture(scope="module")
def verdict(table):
    rows = table[table.part == "verdict"].set_index(["recipe", "rival", "metric"]).sort_index()

    def of(recipe, rival):
        found = rows.loc[(recipe, rival)].loc[list(DEVIATIONS)].reset_index()
        return found.assign(words=[in_words(row) for row in found.itertuples()])

    return of


def test_two_sided_rounding_is_better_at_eight_bits_and_like_gptq_at_four(verdict, setting):
    found = verdict("flatquant, two-sided", TO_GPTQ)
    assert set(found.words) == {"better" if setting == "w4a8" else SAME}
    if setting == "w4a8":
        assert -0.45 < found.change.min() and found.change.max() < -0.2  # "by a quarter to four tenths"


def test_the_shuffled_control_is_better_in_nothing(verdict):
    assert not any("better" in words for words in verdict("flatquant, shuffled", TO_GPTQ).words)


def test_channel_weights_are_equivalent_to_none_where_the_chapter_says_so(verdict, setting):
    assert set(verdict("fgq, two-sided", "flatquant, two-sided").words) == {SAME}
    assert verdict("fgq, gptq", TO_GPTQ).words.tolist() == ["not decided" if setting == "w4a8" else SAME, *[SAME] * 3]
    undecided = verdict("fgq, nearest", TO_NEAREST).words.ne(SAME).tolist()
    assert undecided == ([True, False, True, True] if setting == "w4a8" else [False, False, True, False])


def test_learning_with_the_weights_hardly_lowers_what_they_weight(table):
    losses = table[table.part == "held out"].set_index(["recipe", "seed", "block"])["mean"].unstack("recipe")
    for rounding in ("nearest", "gptq", "two-sided"):
        ratio = losses[f"fgq, {rounding}"] / losses[f"flatquant, {rounding}"]
        assert 0.98 < ratio.mean() < 1.02


@pytest.mark.parametrize("setting", ["w4a4"], indirect=True)
def test_special_tokens_take_a_quarter_and_a_fifth_off_the_cameras_alone(verdict):
    found = verdict("special tokens, gptq + S8", TO_GPTQ)
    assert found.words.tolist() == ["better", "better", SAME, SAME]
    assert found.change.round(2).tolist()[:2] == pytest.approx([-0.25, -0.2], abs=0.015)
    assert found.change.abs().iloc[2:].max() < 0.02


@pytest.mark.parametrize("setting", ["w4a4"], indirect=True)
def test_behind_special_tokens_two_sided_rounding_shows_faintly(verdict):
    found = verdict("special tokens, two-sided + S8", "special tokens, gptq + S8")
    assert found.words.tolist() == [f"better, yet {SAME}", f"better, yet {SAME}", SAME, f"better, yet {SAME}"]
    assert found.change.min() > -0.07
