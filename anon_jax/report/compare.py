"""Writes the comparison of runs: report.html, report.md and report.json, from their workdirs."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anon_jax.errors import WorkdirError
from anon_jax.report import (
    comparison,
    comparison_charts,
    comparison_tables,
    comparison_words,
    pages,
    strips,
)
from anon_jax.report.cells import make_cells
from anon_jax.report.protocols import group
from anon_jax.report.runs import LeftOut, read_runs


def write_comparison(folders: Sequence[Path], output: Path) -> list[LeftOut]:
    """Compares finished runs; returns the folders that were left out, each with its reason.

    report.html is one page that needs no other file, no network and no scripts; report.md has the
    same tables and refers to the pictures beside it; report.json has the numbers. All are written
    or none. The same inputs give the same files, byte for byte.

    Raises:
      WorkdirError: none of the folders is a finished run, or `output` is a file.
    """
    runs, left_out = read_runs(folders)
    if not runs:
        reasons = "\n".join(f"  {item.folder}: {item.reason}" for item in left_out)
        raise WorkdirError(f"There is no finished run to compare:\n{reasons}")
    if output.exists() and not output.is_dir():
        raise WorkdirError(f"--output={output} is a file; name a folder")
    report = comparison.build(runs, left_out)
    parts = [
        _part(protocol, members)
        for protocol, (_, members) in zip(report["protocols"], group(runs), strict=True)
    ]
    page = {
        "report": report,
        "parts": parts,
        "left_out": comparison_tables.reasons(report["left_out"]),
        "words": comparison_words,
    }
    files = {}
    for part in parts:
        for chart in filter(None, [part["tradeoff"], *part["bars"]]):
            files[chart.file] = chart.svg.encode()
        files |= {strip.file: strip.png for group in part["strips"] for strip in group}
    files["report.json"] = (json.dumps(report, indent=2, allow_nan=False) + "\n").encode()
    files["report.md"] = pages.render_markdown("comparison.md.j2", page)
    files["report.html"] = pages.render_html("comparison.html.j2", page)
    pages.write_files(output, files)
    return left_out


def _part(protocol: dict[str, Any], runs: Sequence[Any]) -> dict[str, Any]:
    """What the pages show of a protocol."""
    cells, _ = make_cells(runs)
    groups, problems = strips.make_strips(protocol["rows"], cells, protocol["number"])
    return {
        "protocol": protocol,
        "tables": comparison_tables.build(protocol),
        "repeated": comparison_tables.reasons(protocol["repeated"]),
        "tradeoff": comparison_charts.draw_tradeoff(protocol),
        "bars": comparison_charts.draw_attributes(protocol),
        "strips": groups,
        "picture_problems": problems,
    }
