"""Reads and checks the table of labels (labels.csv) that says what each video of a folder shows."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from input_pipeline.errors import DataError
from input_pipeline.specs import SPLITS, UNKNOWN
from input_pipeline.tables import Row, problem_list, read_table

MAX_CATEGORIES = 100  # values of an attribute column: above, it is a number or a name, no category
_BINARY = {"0": 0, "1": 1, "0.0": 0, "1.0": 1}  # spreadsheets turn 0/1 with gaps into 0.0/1.0


@dataclasses.dataclass(frozen=True)
class LabelledVideo:
    """One row of the table, checked.

    Attributes:
      file: path relative to the source folder, with "/" between its parts.
      action: class name.
      split: "train", "validation" or "test".
      group: film or person; "" where unknown.
      attributes: 0, 1 or UNKNOWN for each name in `Labels.attributes`.
      metadata: the cells of all other columns.
      line: line in the table, counted from 1.
    """

    file: str
    action: str
    split: str
    group: str
    attributes: tuple[int, ...]
    metadata: dict[str, str]
    line: int


@dataclasses.dataclass(frozen=True)
class Labels:
    """A checked table: class names sorted, attribute names in column order, rows in file order."""

    actions: tuple[str, ...]
    attributes: tuple[str, ...]
    videos: tuple[LabelledVideo, ...]


def read_labels(
    labels_file: Path,
    source: Path,
    *,
    attributes: Sequence[str] = (),
    group: str | None = None,
    split: str = "split",
    split_values: Mapping[str, str] | None = None,
) -> Labels:
    """Reads the table and checks every row against the folder.

    Args:
      labels_file: the table: UTF-8, a header line, cells separated by comma, semicolon or tab, with
        at least the columns `file`, `action` and the one named by `split`.
      source: folder that the files are relative to.
      attributes: columns of private attributes. A column of 0 and 1 is one attribute; one of
        categories becomes an attribute "column=value" for each of its values. An empty cell is
        unknown.
      group: column of what may not stand in two splits, such as the film or the person.
      split: column that says which split a video belongs to.
      split_values: what the cells of that column mean, e.g. {"T1": "train"}; cells that are a
        split's name need no entry.

    Raises:
      DataError: naming up to `tables.MAX_PROBLEMS` problems, each with its line and column.
    """
    if not labels_file.is_file():
        raise DataError(
            f"{labels_file}: there is no such table of labels. It needs the columns file, action "
            "and split; --labels names another file"
        )
    rows, columns = read_table(labels_file)
    used = dict.fromkeys(["file", "action", split, *([group] if group else []), *attributes])
    _check_columns(labels_file, list(used), columns, split)
    problems: list[str] = []
    files = _check_files(rows, source, problems)
    _check_actions(rows, problems)
    splits = _check_splits(rows, split, split_values or {}, problems)
    groups = {row.line: row.cells[group] if group else "" for row in rows}
    _check_across_splits(rows, splits, groups, problems)
    names, values = _read_attributes(rows, attributes, problems)
    if problems:
        raise DataError(problem_list(labels_file, problems))
    videos = tuple(
        LabelledVideo(
            file=files[row.line],
            action=row.cells["action"],
            split=splits[row.line],
            group=groups[row.line],
            attributes=tuple(column[row.line] for column in values),
            metadata={name: cell for name, cell in row.cells.items() if name not in used},
            line=row.line,
        )
        for row in rows
    )
    return Labels(tuple(sorted({video.action for video in videos})), tuple(names), videos)


def _check_columns(path: Path, used: list[str], columns: list[str], split: str) -> None:
    missing = [name for name in used if name not in columns]
    if missing:
        hint = ""
        if split in missing:
            hint = (
                f". The splits train and validation are needed: add a column '{split}', or name "
                "one that separates them, e.g. --split=trial --split_values=T1:train,T2:validation"
            )
        raise DataError(
            f"{path}: line 1: there is no column {', '.join(map(repr, missing))}; "
            f"the columns are: {', '.join(columns)}{hint}"
        )


def _check_files(rows: list[Row], source: Path, problems: list[str]) -> dict[int, str]:
    """The normalised relative path by line; each file must exist, inside `source`, and once."""
    root = source.resolve()
    first_line: dict[Path, int] = {}
    files = {}
    for row in rows:
        where = f"line {row.line}, column 'file'"
        name = row.cells["file"]
        relative = PurePosixPath(name)
        if not name:
            problems.append(f"{where}: is empty")
            continue
        if relative.is_absolute() or ".." in relative.parts:
            problems.append(f"{where}: '{name}' must be a path inside {source}, without '..'")
            continue
        path = source / relative
        if not path.is_file():
            hint = "; write '/' instead of '\\'" if "\\" in name else ""
            problems.append(f"{where}: there is no file '{name}' in {source}{hint}")
            continue
        target = path.resolve()
        if not target.is_relative_to(root):
            problems.append(f"{where}: '{name}' is a link that leads out of {source}: {target}")
            continue
        if target in first_line:
            problems.append(f"{where}: '{name}' stands in line {first_line[target]} already")
            continue
        first_line[target] = row.line
        files[row.line] = str(relative)
    return files


def _check_actions(rows: list[Row], problems: list[str]) -> None:
    problems += [
        f"line {row.line}, column 'action': is empty; every video needs its action"
        for row in rows
        if not row.cells["action"]
    ]
    problems += [
        f"line {row.line}, column 'action': {row.cells['action']!r} holds a line break or tab"
        for row in rows
        if row.cells["action"] and not row.cells["action"].isprintable()
    ]
    if len({row.cells["action"] for row in rows}) < 2:
        problems.append("column 'action': all videos show the same; two actions are needed")


def _check_splits(
    rows: list[Row], column: str, values: Mapping[str, str], problems: list[str]
) -> dict[int, str]:
    """The split by line; cells that name none are problems."""
    splits = {}
    for row in rows:
        cell = row.cells[column]
        name = values.get(cell, cell)
        if name in SPLITS:
            splits[row.line] = name
        else:
            known = ", ".join([*values, *SPLITS])
            problems.append(
                f"line {row.line}, column '{column}': '{cell}' is none of: {known}. "
                "--split_values=VALUE:SPLIT,... says what other values mean"
            )
    problems += [
        f"column '{column}': no video is in the split '{name}', which training needs"
        for name in ("train", "validation")
        if splits and name not in splits.values()
    ]
    return splits


def _check_across_splits(
    rows: list[Row], splits: dict[int, str], groups: dict[int, str], problems: list[str]
) -> None:
    """Every action has training videos, and no group stands in two splits."""
    action_lines: dict[str, dict[str, list[int]]] = {}
    group_lines: dict[str, dict[str, list[int]]] = {}
    for row in rows:
        if row.line in splits:
            split = splits[row.line]
            by_action = action_lines.setdefault(row.cells["action"], {})
            by_action.setdefault(split, []).append(row.line)
            if groups[row.line]:
                by_group = group_lines.setdefault(groups[row.line], {})
                by_group.setdefault(split, []).append(row.line)
    for action, lines in action_lines.items():
        if action and "train" not in lines:
            problems.append(
                f"line {min(map(min, lines.values()))}, column 'action': '{action}' has no video "
                f"in the split 'train', only in: {', '.join(lines)}"
            )
    for name, lines in group_lines.items():
        if len(lines) > 1:
            sides = " and ".join(f"{split} ({_lines(where)})" for split, where in lines.items())
            problems.append(
                f"group '{name}' stands in {sides}; all of its videos belong into one split"
            )


def _read_attributes(
    rows: list[Row], columns: Sequence[str], problems: list[str]
) -> tuple[list[str], list[dict[int, int]]]:
    """Names of the attributes and, for each, its value by line."""
    names: list[str] = []
    values: list[dict[int, int]] = []
    for column in columns:
        cells = {row.line: row.cells[column] for row in rows}
        known = sorted({cell for cell in cells.values() if cell})
        where = f"column '{column}'"
        if not known:
            problems.append(f"{where}: every cell is empty: nothing is known of this attribute")
        elif any(cell in _BINARY for cell in known):
            problems += [
                f"line {line}, {where}: '{cell}' is neither 0 nor 1 nor empty (unknown). A column "
                "of categories holds no 0 or 1: write names such as 'none'"
                for line, cell in cells.items()
                if cell and cell not in _BINARY
            ]
            names.append(column)
            values.append({line: _BINARY.get(cell, UNKNOWN) for line, cell in cells.items()})
        elif len(known) > MAX_CATEGORIES:
            problems.append(
                f"{where}: {len(known)} different values; an attribute has at most "
                f"{MAX_CATEGORIES} categories"
            )
        else:
            names += [f"{column}={value}" for value in known]
            values += [
                {line: int(cell == value) if cell else UNKNOWN for line, cell in cells.items()}
                for value in known
            ]
    return names, values


def _lines(lines: list[int]) -> str:
    shown = ", ".join(map(str, lines[:3])) + (", ..." if len(lines) > 3 else "")
    return f"line{'s' if len(lines) > 1 else ''} {shown}"
