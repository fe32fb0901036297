"""Tables for people: as wide as the terminal and never wider, and what identifies a row is never cut.

Rule: a cell is clean text, or made of such; rich decides nothing about widths. Left to it, one long error text would
squeeze the ids beside it to nothing. And it is imported by the functions that draw: in a pipe, where nobody draws, its
import would take longer than the look at the queue.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import attrs

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

Cell: TypeAlias = "str | RenderableType"


@attrs.frozen
class Column:
    """A column of a table.

    Attributes:
        name: What stands above it.
        right: Whether it is aligned to the right, as numbers are.
        cut: Whether its texts may be cut when there is no room for them.
        least: How much of them is shown all the same, as long as there is another way.
        spare: Whether it is left out when there is no room for it.
        width: How wide it is, when its cells are no texts.
    """

    name: str
    right: bool = False
    cut: bool = False
    least: int = 10
    spare: bool = False
    width: int | None = None


def console() -> Console:
    """The terminal: what is printed there is text, and no markup."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False)


def table(columns: Sequence[Column], rows: Iterable[Sequence[Cell]], width: int, *, title: str = "") -> Table:
    """Lay a table out.

    Args:
        columns: Its columns.
        rows: Its rows: a cell for each column.
        width: How wide the terminal is.
        title: What stands above it.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    def wide_is(cell: RenderableType) -> int:
        return cell.cell_len if isinstance(cell, Text) else 0

    laid = [[Text(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
    natural = [
        column.width or max([len(column.name), *(wide_is(row[place]) for row in laid)])
        for place, column in enumerate(columns)
    ]
    shown = _shown(columns, natural, width)
    widths = _widths([columns[place] for place in shown], [natural[place] for place in shown], width)
    made = Table(
        box=box.SIMPLE_HEAD,
        title=Text(title) if title else None,
        title_justify="left",
        padding=(0, 1, 0, 0),
    )
    for place, wide in zip(shown, widths, strict=True):
        made.add_column(
            columns[place].name,
            justify="right" if columns[place].right else "left",
            no_wrap=True,
            overflow="ellipsis",
            min_width=wide,
            max_width=wide,
        )
    for row in laid:
        made.add_row(*(row[place] for place in shown))
    return made


def _room(count: int, width: int) -> int:
    """What so many columns leave for texts: each has a space on both sides, and the table one in front."""
    return width - 2 * count - 1


def _shown(columns: Sequence[Column], natural: Sequence[int], width: int) -> list[int]:
    """Which columns there is room for: spare ones go, the last first."""
    shown = list(range(len(columns)))
    least = [
        min(wide, column.least) if column.cut else wide for column, wide in zip(columns, natural, strict=True)
    ]
    for place in reversed(range(len(columns))):
        if sum(least[one] for one in shown) <= _room(len(shown), width):
            break
        if columns[place].spare:
            shown.remove(place)
    return shown


def _widths(columns: Sequence[Column], natural: Sequence[int], width: int) -> list[int]:
    """How wide each is: what is too much is taken from those that may be cut, always from the one with most to give."""
    widths = list(natural)
    cut = [place for place, column in enumerate(columns) if column.cut]
    for _ in range(sum(widths) - _room(len(columns), width)):
        most = max(cut, key=lambda place: (widths[place] - columns[place].least, widths[place]), default=None)
        if most is None or widths[most] <= 1:
            break
        widths[most] -= 1
    return widths
