"""A table of a report: text, for the HTML and the Markdown page alike."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Table:
    """Headers and rows of as many cells; the first cell names the row."""

    headers: list[str]
    rows: list[list[str]]


@dataclasses.dataclass(frozen=True)
class Column:
    """A header, how an entry is written below it, and whether the table has this column."""

    header: str
    cell: Callable[[Mapping[str, Any]], str]
    there: bool = True


def tabulate(entries: Iterable[Mapping[str, Any]], columns: Sequence[Column]) -> Table:
    """A row for each entry, with the columns that are there."""
    shown = [column for column in columns if column.there]
    return Table(
        [column.header for column in shown],
        [[column.cell(entry) for column in shown] for entry in entries],
    )
