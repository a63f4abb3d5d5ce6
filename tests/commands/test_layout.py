"""Tables and facts fit the terminal, and no word is broken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synccash.commands.layout import Segment, fact_lines, fitted_widths, table_lines

ID = "pay_01m883aaajky0g0748dpxwar1s"
TITLES = ("id", "created", "amount", "status", "detail", "reference")
ROWS = [
    (ID, "2026-11-28T01:00:00.000Z", "GHS 25.00", "succeeded", "-", "order 17 of the shop in Makola"),
    (ID, "2026-11-28T01:00:00.000Z", "GHS 1,234.50", "processing", "under_review", "short"),
]
WORDS = st.text(alphabet="abcdefghij-_", min_size=1, max_size=12)
TEXTS = st.lists(WORDS, min_size=0, max_size=6).map(" ".join)


def text(lines) -> list[str]:
    return ["".join(segment.text for segment in line).rstrip() for line in lines]


def words(lines) -> list[str]:
    return [word for line in lines for word in line.split()]


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_a_table_fits_the_terminal_and_keeps_every_word(width):
    lines = text(table_lines(TITLES, ROWS, width))
    assert max(map(len, lines)) <= width
    for row in ROWS:
        for cell in row:
            for word in cell.split():
                assert word in words(lines), (width, word)


def test_a_wide_terminal_shows_a_row_on_one_line():
    lines = text(table_lines(TITLES, ROWS, 200))
    assert len(lines) == 3
    assert lines[0].split() == [title.upper() for title in TITLES]
    assert "     GHS 25.00  " in lines[1] or "   GHS 25.00  " in lines[1], "amounts are aligned right"


def test_a_narrower_terminal_wraps_texts_at_blanks():
    lines = text(table_lines(TITLES, ROWS, 120))
    assert len(lines) > 3
    assert lines[1].startswith(ID)


def test_a_narrow_terminal_shows_a_field_a_line():
    lines = text(table_lines(TITLES, ROWS, 60))
    assert lines[0] == f"id         {ID}"
    assert lines[2] == "amount     GHS 25.00"
    assert "" in lines, "rows are apart"


def test_without_a_terminal_nothing_wraps():
    lines = text(table_lines(TITLES, ROWS))
    assert len(lines) == 3
    assert "order 17 of the shop in Makola" in lines[1]


@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS), min_size=1, max_size=5), st.integers(20, 120))
def test_whatever_the_cells_hold_words_stay_whole_and_lines_fit(rows, width):
    titles = ("one", "two", "three")
    lines = text(table_lines(titles, rows, width))
    expected = sorted(word for row in rows for cell in row for word in cell.split())
    shown = words(lines)
    for title in titles:
        shown = [word for word in shown if word not in (title, title.upper())]
    assert sorted(shown) == [word for word in expected if word not in titles]
    if fitted_widths([titles, *rows], width) is not None:
        assert all(len(line) <= width for line in lines)


def test_facts_go_on_under_their_beginning():
    lines = text(fact_lines({"id": ID, "reason": "the statement of the third of May has it in line 14"}, 40))
    assert lines == [
        f"id      {ID}",
        "reason  the statement of the third of",
        "        May has it in line 14",
    ]


def test_a_status_has_a_colour_and_other_text_has_none():
    [_, row] = table_lines(("status", "reference"), [("failed", "my failed order")], 80)
    assert Segment("failed", "red") in row
    assert Segment("my failed order", "") in row
