"""The report of a run: report.html, report.md and report.json, from what the run left on disk."""

import base64
import json
import math
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from anon_jax.errors import WorkdirError
from anon_jax.report import charts, content, tables, words
from anon_jax.writers import read_metrics

_PICTURES = 4  # of samples/, the last one among them
# What means something in Markdown; "_" is left out, for names full of "\_" are hard to read.
_MARKDOWN_SPECIAL = re.compile(r"([\\`*\[\]|~])")


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
    files["report.md"] = _markdown().get_template("report.md.j2").render(page).encode()
    files["report.html"] = _html().get_template("report.html.j2").render(page).encode()
    (workdir / "report").mkdir(exist_ok=True)
    for name, data in files.items():
        _write(workdir / "report" / name, data)


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


def _html() -> Environment:
    """Escapes whatever the template prints, but for charts, whose SVG matplotlib has escaped."""
    environment = Environment(
        loader=PackageLoader("anon_jax.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["inline"] = lambda chart: Markup(charts.inline_svg(chart))
    environment.filters["data_uri"] = lambda png: (
        "data:image/png;base64," + base64.b64encode(png).decode()
    )
    return environment


def _markdown() -> Environment:
    """Escapes whatever the template prints, as Jinja2's autoescape does for HTML."""
    environment = Environment(
        loader=PackageLoader("anon_jax.report", "."),
        finalize=_escape_markdown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["verbatim"] = Markup
    return environment


def _escape_markdown(value: Any) -> Any:
    if isinstance(value, Markup):
        return value
    text = " ".join(str(value).split())  # a newline would end a table's row
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKDOWN_SPECIAL.sub(r"\\\1", text)


def _read_json(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise WorkdirError(f"{path} is missing; a report needs the workdir of a run that has it")
    return json.loads(path.read_text())


def _write(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(data)
    partial.replace(path)
