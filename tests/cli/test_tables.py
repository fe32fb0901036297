"""Tables fit the terminal, however long the texts are, and what identifies a row is never cut for them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from rich.console import Console
from rich.text import Text

from anyq.cli.tables import Cell, Column, table

COLUMNS = (
    Column("id"), Column("task", cut=True, least=6), Column("runs", right=True, spare=True),
    Column("error", cut=True),
)  # fmt: skip

ROWS = [
    ["1796049917956-0", "newsletter", "5", "TypeError: " + "x" * 500],
    ["1796049917589-0", "welcome", "13", "日本語" * 50],
]


def drawn(
    columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int, title: str = ""
) -> list[str]:
    console = Console(width=width, highlight=False, markup=False, emoji=False, force_terminal=False)
    with console.capture() as captured:
        console.print(table(columns, rows, width, title=title))
    return captured.get().rstrip("\n").split("\n")


@pytest.mark.parametrize("width", [200, 120, 80, 60, 45])
def test_a_long_text_is_cut_and_an_id_is_not(width: int) -> None:
    lines = drawn(COLUMNS, ROWS, width)
    assert all(Text(line).cell_len <= width for line in lines)
    assert "1796049917956-0" in lines[3]
    assert "1796049917589-0" in lines[4]
    assert "error" in lines[1]
    assert lines[3].rstrip().endswith("…")


def test_a_column_is_as_wide_as_its_widest_cell_when_there_is_room() -> None:
    lines = drawn(COLUMNS, [["1-0", "newsletter", "5", "boom"]], 200, title="1 letter")
    assert lines[0].rstrip() == "1 letter"
    assert lines[2].split() == ["id", "task", "runs", "error"]
    assert lines[4].rstrip() == " 1-0  newsletter     5  boom"


def test_what_can_be_spared_goes_before_the_rest_is_cut_to_nothing() -> None:
    assert "runs" in drawn(COLUMNS, ROWS, 48)[1]
    narrow = drawn(COLUMNS, ROWS, 40)
    assert "runs" not in narrow[1]
    assert "newsle…" in narrow[3]


def test_a_terminal_that_is_far_too_narrow_still_shows_something() -> None:
    assert any("1796" in line for line in drawn(COLUMNS, ROWS, 20))
