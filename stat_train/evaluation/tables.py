"""Tables on the terminal: names are shortened before numbers are, and no name is taken for markup."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

# A table longer than this is not read; the file that it is made from has the rest.
ROWS_SHOWN = 25
# Columns from which on a terminal has room for longer bars and more digits.
WIDE = 100
SHORTEST_NAME = 8
# Blanks between two columns, and around all of them.
GAP, EDGES = 2, 2
TOO_FEW = "too few to tell"
BLOCKS = "▏▎▍▌▋▊▉█"


def new_table(title: str | None = None) -> Table:
    """Return an empty table with a title on the left."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = Text(plain(title)) if title else None
    return Table(title=shown, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False, collapse_padding=True)


def add_columns(table: Table, name: str, *numbers: str) -> None:
    """Add a column of names on the left, and columns of numbers, which are never cut."""
    table.add_column(name, overflow="ellipsis", no_wrap=True)
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)


def add_row(table: Table, *cells: str) -> None:
    """Add a row of texts as they are: a skill's name may hold square brackets, which rich would take for markup."""
    from rich.text import Text

    table.add_row(*(Text(plain(cell)) for cell in cells))


def fit_names(table: Table, width: int) -> Table:
    """Give the first column what the others leave of the width; rich itself would cut the numbers as well."""
    from rich.cells import cell_len

    others = [max(cell_len(str(cell)) for cell in (column.header, *column.cells)) for column in table.columns[1:]]
    table.columns[0].max_width = max(SHORTEST_NAME, width - sum(others) - GAP * len(others) - EDGES)
    return table


def plain(text: str) -> str:
    """Return a text on one line that cannot steer the terminal: control characters are shown as a question mark."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)


def bar(count: int, most: int, width: int) -> str:
    """Return a bar of count / most of the width, to an eighth of a character."""
    eighths = round(8 * width * count / most) if most else 0
    return BLOCKS[-1] * (eighths // 8) + (BLOCKS[eighths % 8 - 1] if eighths % 8 else "")


def shortened(name: str, width: int) -> str:
    """Return a name of at most so many characters, with an ellipsis where it was cut."""
    return name if len(name) <= width else name[: width - 1] + "…"


def say(console: Console, text: str, style: str = "") -> None:
    """Print a text as it is."""
    console.print(text, style=style, markup=False, highlight=False)
