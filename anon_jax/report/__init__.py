"""The report of a run: report.html, report.md and report.json, from what the run left on disk."""

import json
import math
from pathlib import Path
from typing import Any

from anon_jax.errors import WorkdirError
from anon_jax.report import charts, content, pages, tables, words
from anon_jax.writers import read_metrics

_PICTURES = 4  # of samples/, the last one among them


def write_report(workdir: Path) -> None:
    """Writes `workdir/report/` from the run's config.json, results.json, metrics/ and samples/.

    report.html is one page that needs no other file, no network and no scripts; report.md has the
    same tables and refers to the pictures beside it; report.json has the numbers of the tables.
    Measurements, metrics and samples that are not there are left out or shown as a dash. The same
    inputs give the same files, byte for byte.

    Raises:
      WorkdirError: config.json or results.json is missing.
    """
    results = _read_json(workdir / "results.json")
    config = _read_json(workdir / "config.json")
    metrics = {
        path.relative_to(workdir / "metrics").with_suffix("").as_posix(): read_metrics(path)
        for path in sorted((workdir / "metrics").rglob("*.jsonl"))
    }
    report = content.build(results, config, metrics.get("minimax", []))
    bars = charts.draw_attributes(report["attributes"])
    unit = words.DISTANCE_UNITS.get(content.at(config, "minimax", "penalty", "space"), "distance")
    curves = charts.draw_curves(metrics, _references(report, config), unit)
    samples = _samples(workdir / "samples")
    page = {
        "report": report,
        "tables": tables.build(report),
        "notes": words.NOTES,
        "bars": bars,
        "curves": curves,
        "samples": samples,
        "config": json.dumps(config, indent=2, ensure_ascii=False),
    }
    drawn = [chart for _, charts_of_phase in curves for chart in charts_of_phase]
    files = {chart.file: chart.svg.encode() for chart in ([bars] if bars else []) + drawn}
    files |= {sample["file"]: sample["png"] for sample in samples}
    files["report.json"] = (json.dumps(report, indent=2, allow_nan=False) + "\n").encode()
    files["report.md"] = pages.render_markdown("report.md.j2", page)
    files["report.html"] = pages.render_html("report.html.j2", page)
    pages.write_files(workdir / "report", files)


def _references(report: dict[str, Any], config: dict[str, Any]) -> dict[str, float]:
    """Levels that the curves are read against; those that are not known are left out."""
    minimax = report["minimax"] or {}
    levels = {"budget": minimax.get("budget")}
    for phase, field in (("minimax", "batch_images"), ("pretrain_privacy", "batch_size")):
        pairs = content.at(config, phase, field)
        # NT-Xent of N pairs tells one positive from 2N - 2 negatives.
        levels[f"{phase}/nt_xent"] = math.log(2 * pairs - 1) if pairs else None
    for row in report["methods"]:
        levels["top1"] = row["action"]["chance"] or levels.get("top1")
    return {name: level for name, level in levels.items() if level is not None}


def _samples(folder: Path) -> list[dict[str, Any]]:
    """The last picture and earlier ones at about even distances, oldest first."""
    paths = {int(path.stem): path for path in folder.glob("*.png") if path.stem.isdecimal()}
    steps = sorted(paths)
    last = len(steps) - 1
    chosen = sorted({round(last * i / (_PICTURES - 1)) for i in range(_PICTURES)}) if steps else []
    return [
        {"step": step, "file": f"sample_{step:06d}.png", "png": paths[step].read_bytes()}
        for step in (steps[index] for index in chosen)
    ]


def _read_json(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise WorkdirError(f"{path} is missing; a report needs the workdir of a run that has it")
    return json.loads(path.read_text())
