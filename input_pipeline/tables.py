"""Reading of CSV tables whose errors name the line, and lists of problems for error messages."""

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from input_pipeline.errors import DataError

MAX_PROBLEMS = 10  # reported at once; the rest is counted


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a table: its line (from 1; the last one where a cell holds line breaks), its cells.

    Cells are stripped of surrounding blanks and stand under the name of their column.
    """

    line: int
    cells: dict[str, str]


def read_table(path: Path) -> tuple[list[Row], list[str]]:
    """The rows of a table in UTF-8 with a header line, and the names of its columns.

    Cells are separated by comma, semicolon or tab. Blank lines are skipped, and so are columns
    without a name.

    Raises:
      DataError: the file is no such table, has no rows, or rows of another length than the header.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text ({error}); save it as CSV in UTF-8") from error
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter, strict=True)
    rows: list[Row] = []
    problems: list[str] = []
    try:
        header = _header(path, next(reader, []))
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                problems.append(
                    f"line {reader.line_num}: {len(cells)} cells, but the header has {len(header)}"
                )
            pairs = zip(header, cells, strict=False)
            rows.append(Row(reader.line_num, {name: cell.strip() for name, cell in pairs if name}))
    except csv.Error as error:
        raise DataError(f"{path}: line {reader.line_num}: is no CSV: {error}") from error
    if problems:
        raise DataError(problem_list(path, problems))
    if not rows:
        raise DataError(f"{path}: holds no rows below the header")
    return rows, [name for name in header if name]


def problem_list(path: Path, problems: Sequence[str]) -> str:
    """A message with the first MAX_PROBLEMS problems of a file, one a line."""
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    lines = [f"{path}: {count}:", *(f"  {problem}" for problem in problems[:MAX_PROBLEMS])]
    if len(problems) > MAX_PROBLEMS:
        lines.append(f"  ... and {len(problems) - MAX_PROBLEMS} more")
    return "\n".join(lines)


def _header(path: Path, cells: Sequence[str]) -> list[str]:
    names = [name.strip() for name in cells]
    if not any(names):
        raise DataError(f"{path}: line 1: is empty; the names of the columns belong there")
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise DataError(f"{path}: line 1: two columns have the same name: {', '.join(twice)}")
    return names
