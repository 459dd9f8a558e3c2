"""From every numbered equation one step leads to its code."""

import pytest

from tests.book.equations import BOOK, CODE, numbered, resolve, with_lines


def test_every_numbered_equation_and_nothing_else_has_code():
    assert set(numbered()) == set(CODE)


@pytest.mark.parametrize("label", CODE)
def test_the_code_of_an_equation_exists(label):
    assert callable(resolve(CODE[label]))


@pytest.mark.parametrize("page", sorted(BOOK.glob("*.md")), ids=lambda page: page.stem)
def test_a_page_says_under_each_equation_where_its_code_is(page):
    text = page.read_text(encoding="utf-8")
    assert with_lines(text) == text, "run python -m tests.book.equations"
