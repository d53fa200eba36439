"""The report of a run: report.html, report.md and report.json, from what the run left on disk."""

import json
import math
import re
from pathlib import Path
from typing import Any

from anon_jax.errors import WorkdirError
from anon_jax.methods import METHODS
from anon_jax.report import attack_words, charts, content, pages, tables, words
from anon_jax.report.tree import at
from anon_jax.writers import read_metrics

_PICTURES = 4  # of samples/, the last one among them
_RECONSTRUCTION = "reconstruction-"  # what their names begin with


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
    unit = words.DISTANCE_UNITS.get(at(config, "minimax", "penalty", "space"), "distance")
    method = METHODS.get(report["method"])
    supervised = method is not None and method.supervised
    levels = _references(report, config, contrastive=not supervised)
    curves = charts.draw_curves(metrics, levels, unit, words.PRIVACY_UNITS[supervised])
    samples = _samples(workdir / "samples")
    reconstructions = _reconstructions(workdir / "samples")
    page = {
        "report": report,
        "tables": tables.build(report),
        "notes": words.NOTES,
        "words": attack_words,
        "has_intervals": any(
            row[kind]["interval"] for row in report["methods"] for kind in ("action", "privacy")
        ),
        "boxes": attack_words.boxes(report["methods"]),
        "bars": bars,
        "curves": curves,
        "samples": samples,
        "reconstructions": reconstructions,
        "config": json.dumps(config, indent=2, ensure_ascii=False),
    }
    drawn = [chart for _, charts_of_phase in curves for chart in charts_of_phase]
    files = {chart.file: chart.svg.encode() for chart in ([bars] if bars else []) + drawn}
    files |= {sample["file"]: sample["png"] for sample in [*samples, *reconstructions]}
    files["report.json"] = (json.dumps(report, indent=2, allow_nan=False) + "\n").encode()
    files["report.md"] = pages.render_markdown("report.md.j2", page)
    files["report.html"] = pages.render_html("report.html.j2", page)
    pages.write_files(workdir / "report", files)


def _references(
    report: dict[str, Any], config: dict[str, Any], *, contrastive: bool
) -> dict[str, float]:
    """Levels that the curves are read against; those that are not known are left out."""
    minimax = report["minimax"] or {}
    levels = {"budget": minimax.get("budget")}
    fields = (("minimax", "batch_images"), ("pretrain_privacy", "batch_size"))
    for phase, field in fields if contrastive else ():
        pairs = at(config, phase, field)
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


def _reconstructions(folder: Path) -> list[dict[str, Any]]:
    """The pictures of raw, anonymized and reconstructed frames, by method."""
    return [
        {
            "method": path.stem.removeprefix(_RECONSTRUCTION),
            "file": f"{re.sub(r'[^a-z0-9_]+', '_', path.stem.lower())}.png",
            "png": path.read_bytes(),
        }
        for path in sorted(folder.glob(f"{_RECONSTRUCTION}*.png"))
    ]


def _read_json(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise WorkdirError(f"{path} is missing; a report needs the workdir of a run that has it")
    return json.loads(path.read_text())
