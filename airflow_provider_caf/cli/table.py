"""Tables for people: what does not fit goes by whole columns, and nothing is cut.

On a terminal that is too narrow the least important columns go first. Where even those that stay do not fit beside each
other, a row becomes some lines. Output that is no terminal is plain: all columns, as wide as they like, without boxes
and colours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table as RichTable
from rich.text import Text

from airflow_provider_caf.cli.output import clean

GAP = 2
"""Between columns, in cells."""

Cell: TypeAlias = str | Text | ProgressBar


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column.

    :param goes: those with smaller numbers go first where there is no room, empty ones before all; None: it stays.
    :param wraps: its texts may be broken between words; others stay on one line.
    :param least: a width that it keeps where there is room, so that a table that is shown again does not jump.
    """

    name: str
    goes: int | None = None
    wraps: bool = False
    justify: Literal["left", "right"] = "left"
    least: int = 0


def build_columns(*stay: str, **goes: int) -> tuple[Column, ...]:
    """Return columns of texts that stay, and columns of numbers with the order in which they go."""
    numbers = (Column(name=name, goes=order, justify="right") for name, order in goes.items())
    return (*(Column(name=name) for name in stay), *numbers)


class Table:
    """A table, which rich can print.

    :param title: a line above it.
    :param columns: the first holds the names of the rows.
    """

    def __init__(self, title: str, columns: Iterable[Column]) -> None:
        self._title = clean(title)
        self._columns = tuple(columns)
        self._rows: list[list[Text | ProgressBar]] = []

    def add_row(self, *cells: Cell, style: str = "") -> None:
        """Add a row.

        :param cells: one for each column. Text is shown as it is, on one line; a bar is left out of plain output.
        """
        if len(cells) != len(self._columns):
            raise ValueError(f"{len(cells)} cells for {len(self._columns)} columns.")
        self._rows.append([cell if isinstance(cell, ProgressBar) else _make_text(cell, style) for cell in cells])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw it for the console's kind and width."""
        yield Text(self._title, style="bold" if console.is_terminal else "")
        if not console.is_terminal:
            yield from self._build_lines()
            return
        widths = self._fit(options.max_width)
        if widths is None:
            yield from self._build_blocks()
        else:
            yield self._build_grid(widths)

    def _build_lines(self) -> Iterator[Text]:
        """Yield the lines of the plain form."""
        shown = [number for number in range(len(self._columns)) if not self._has_bars(number)]
        rows = [[self._columns[number].name for number in shown]]
        rows += [[str(row[number]) for number in shown] for row in self._rows]
        widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = []
            for number, text, width in zip(shown, row, widths, strict=True):
                space = " " * (width - cell_len(text))
                cells.append(space + text if self._columns[number].justify == "right" else text + space)
            yield Text((" " * GAP).join(cells).rstrip())

    def _build_blocks(self) -> Iterator[Text]:
        """Yield some lines for each row: its name, and below it what has a value."""
        indent = max((cell_len(column.name) for column in self._columns[1:]), default=0)
        for name, *cells in self._rows:
            yield Text(str(name), style="bold")
            for column, cell in zip(self._columns[1:], cells, strict=True):
                if isinstance(cell, Text) and cell.plain:
                    yield Text.assemble(f"  {column.name:<{indent}}  ", cell)

    def _build_grid(self, widths: dict[int, int]) -> RichTable:
        grid = RichTable(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0))
        for number, width in widths.items():
            column = self._columns[number]
            grid.add_column(column.name, width=width, justify=column.justify, no_wrap=not column.wraps, overflow="fold")
        for row in self._rows:
            grid.add_row(*(row[number] for number in widths))
        return grid

    def _fit(self, room: int) -> dict[int, int] | None:
        """Choose columns, and return the width of each, by number; None if those that stay do not fit.

        :param room: in cells.
        """
        reserved = [max(self._measure(number), column.least) for number, column in enumerate(self._columns)]
        going = [number for number, column in enumerate(self._columns) if column.goes is not None]
        going.sort(key=lambda number: (self._has_text(number), self._columns[number].goes))
        for widths in (reserved, [self._measure(number) for number in range(len(self._columns))]):
            for gone in range(len(going) + 1):
                chosen = {number: widths[number] for number in range(len(widths)) if number not in going[:gone]}
                spare = room - sum(chosen.values()) - GAP * (len(chosen) - 1)
                if spare >= 0:
                    return self._widen(chosen, spare)
        return None

    def _widen(self, widths: dict[int, int], spare: int) -> dict[int, int]:
        """Widen the columns that wrap by what room there is left, as far as they need it."""
        wide = dict(widths)
        for number, width in widths.items():
            more = min(spare, max(map(_measure_whole, self._list_cells(number))) - width)
            if more > 0:
                wide[number] += more
                spare -= more
        return wide

    def _measure(self, number: int) -> int:
        """Return the width that a column needs at least, in cells: that of its longest text, or word."""
        cells = self._list_cells(number)
        if self._columns[number].wraps:
            return max((cell_len(word) for cell in cells for word in str(cell).split()), default=0)
        return max(map(_measure_whole, cells))

    def _list_cells(self, number: int) -> Sequence[Text | ProgressBar]:
        return [Text(self._columns[number].name), *(row[number] for row in self._rows)]

    def _has_bars(self, number: int) -> bool:
        return any(isinstance(row[number], ProgressBar) for row in self._rows)

    def _has_text(self, number: int) -> bool:
        return any(isinstance(row[number], ProgressBar) or str(row[number]) for row in self._rows)


def _make_text(cell: str | Text, style: str) -> Text:
    given = Text(cell) if isinstance(cell, str) else cell
    return Text(" ".join(clean(given.plain).expandtabs(1).splitlines()), style=given.style or style)


def _measure_whole(cell: Text | ProgressBar) -> int:
    return (cell.width or 0) if isinstance(cell, ProgressBar) else cell_len(cell.plain)
