"""Tables of measurements: Markdown for people, JSON for programs."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.contestants import Timed

Row = dict[str, str | float]


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of {column: value}, in the order of the first row's columns; missing values are "-"."""

    title: str
    rows: Sequence[Row]
    note: str = ""

    def markdown(self) -> str:
        """The title, the note and a Markdown table; numbers with three significant digits."""
        columns = list(dict.fromkeys(column for row in self.rows for column in row))
        lines = [f"### {self.title}", "", *([self.note, ""] if self.note else [])]
        lines += [_line(columns), _line(["---"] * len(columns))]
        lines += [_line([_text(row.get(column, "-")) for column in columns]) for row in self.rows]
        return "\n".join(lines) + "\n"


def of_timed(title: str, timed: Sequence[Timed], peak: float, note: str = "") -> Table:
    """One row a program and contestant.

    Args:
      peak: FLOP/s of this machine's best matrix product in the same run; the floor of a program is
        its operations divided by it.
    """
    flop = {(one.case, one.program): one.facts["flop"] for one in timed if "flop" in one.facts}
    rows = []
    for one in timed:
        seconds = float(np.median(one.seconds))
        operations = flop.get((one.case, one.program), 0.0)
        row: Row = {"program": one.program, "contestant": one.contestant, "ms": 1e3 * seconds}
        spread = f"{np.median(one.ratios):.2f} ({one.ratios.min():.2f} to {one.ratios.max():.2f})"
        row["times the reference (least to most)"] = spread
        row["CPU ms"] = 1e3 * one.facts["cpu_seconds"]
        if operations:
            row["GFLOP"] = operations / 1e9
            row["share of the floor"] = f"{operations / peak / seconds:.0%}"
        if "difference" in one.facts:
            row["difference"] = f"{one.facts['difference']:.0e}"
        if "temp_mib" in one.facts:
            row["planned temporaries MiB"] = one.facts["temp_mib"]
        row["peak RSS MiB"] = one.facts["peak_rss_mib"]
        rows.append(row)
    return Table(title, rows, note)


def save(
    folder: Path, name: str, header: Mapping[str, str | float], tables: Sequence[Table]
) -> str:
    """Writes NAME.md and NAME.json below `folder`; returns the Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"## {name}", "", *(f"- {key}: {_text(value)}" for key, value in header.items()), ""]
    text = "\n".join(lines) + "\n" + "\n".join(table.markdown() for table in tables)
    content = {"header": dict(header), "tables": [dataclasses.asdict(table) for table in tables]}
    (folder / f"{name}.md").write_text(text)
    (folder / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
    return text


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _text(value: str | float) -> str:
    if isinstance(value, str):
        return value
    digits = 0 if abs(value) >= 100 else 3
    return f"{value:,.0f}" if digits == 0 else f"{value:.{digits}g}"
