"""Phase "report": collects what the evaluations found into results.json and report/."""

import math
from typing import Any

from anon_jax import distributed, provenance
from anon_jax.metrics import normalised_leakage
from anon_jax.phases import minimax, setup
from anon_jax.results import read_results, read_seconds, write_json
from anon_jax.writers import read_metrics
from input_pipeline.fingerprint import fingerprint

NAME = "report"


def run(run: setup.Run) -> None:
    """Writes results.json, then the report's pages; of several processes the first one does."""
    distributed.first(lambda: _write(run))


def _write(run: setup.Run) -> None:
    # Not above: it loads matplotlib, for which a start or a sentence on a mistake need not wait.
    from anon_jax.report import write_report

    methods = read_results(run.workdir)
    add_leakage(methods)
    results = {
        "methods": methods,
        "method": run.config.method,
        "seed": run.config.seed,
        "datasets": run.datasets.names(),
        "minimax": _summary(run),
        "versions": provenance.versions(),
        "commit": provenance.commit(),
        "machine": provenance.machine(),
        "data": _fingerprints(run),
        "seconds": read_seconds(run.workdir),
    }
    write_json(run.workdir / "results.json", results)
    write_report(run.workdir)


def _fingerprints(run: setup.Run) -> dict[str, str]:
    """{dataset: fingerprint} of the datasets of the run."""
    return {spec.name: fingerprint(spec) for spec in run.datasets.specs().values()}


def add_leakage(methods: dict[str, dict[str, Any]]) -> None:
    """Adds to each method what leaks, put between chance and the direct attack on raw.

    "normalised_leakage" of "privacy" is that of the strongest direct attacker (None where the
    attacker of raw is not above chance: there was nothing to leak); absent without raw.
    "worst_case" is that of the strongest of all attackers; absent where none was tested.

    Args:
      methods: {method: {measurement: result}}; changed in place.
    """
    raw = methods.get("raw", {}).get("privacy")
    for result in methods.values():
        privacy = result.get("privacy")
        if raw and privacy:
            privacy["normalised_leakage"] = _leakage(privacy["cmap"], privacy, raw)
        attacks = _attacks(result)
        if attacks:
            worst = max(attacks, key=lambda attack: attack["cmap"])
            leakage = _leakage(worst["cmap"], privacy, raw) if raw and privacy else None
            result["worst_case"] = {**worst, "normalised_leakage": leakage}


def _attacks(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The strongest attacker of each kind; of two equals the simpler one stands first."""
    reconstruction = result.get("reconstruction", {})
    found = {
        "direct": result.get("privacy"),
        "reconstruction": reconstruction.get("privacy"),
        "white_box": reconstruction.get("white_box"),
    }
    return [
        {"cmap": report["cmap"], "attack": attack, "attacker": report.get("attacker")}
        for attack, report in found.items()
        if report and report.get("cmap") is not None
    ]


def _leakage(cmap: float, privacy: dict[str, Any], raw: dict[str, Any]) -> float | None:
    leakage = normalised_leakage(cmap, privacy["chance_cmap"], raw["cmap"])
    return None if math.isnan(leakage) else leakage


def _summary(run: setup.Run) -> dict[str, float]:
    """Of the last tenth of the minimax steps: the distance reached, how often the penalty acted."""
    lines = read_metrics(run.workdir / "metrics" / f"{minimax.NAME}.jsonl")
    last = [line for line in lines if line["step"] > 0.9 * lines[-1]["step"]]
    names = ("penalty/distance", "penalty/active", "penalty/multiplier")
    found = {name: [line[name] for line in last if name in line] for name in names}
    return {name: sum(values) / len(values) for name, values in found.items() if values}
