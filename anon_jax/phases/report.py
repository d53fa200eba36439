"""Phase "report": collects what the evaluations found into results.json and report/."""

import importlib.metadata
import math
import platform

from anon_jax.metrics import normalised_leakage
from anon_jax.phases import minimax, setup
from anon_jax.report import write_report
from anon_jax.results import read_results, read_seconds, write_json
from anon_jax.writers import read_metrics

NAME = "report"
_PACKAGES = ("anon_jax", "jax", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


def run(run: setup.Run) -> None:
    """Writes results.json, then the report's pages."""
    methods = read_results(run.workdir)
    _add_normalised_leakage(methods)
    results = {
        "methods": methods,
        "method": run.config.method,
        "seed": run.config.seed,
        "datasets": run.datasets.names(),
        "minimax": _summary(run),
        "versions": {
            "python": platform.python_version(),
            **{name: _version(name) for name in _PACKAGES},
        },
        "seconds": read_seconds(run.workdir),
    }
    write_json(run.workdir / "results.json", results)
    write_report(run.workdir)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # run from a checkout
        return "not installed"


def _add_normalised_leakage(methods: dict) -> None:
    raw = methods.get("raw", {}).get("privacy")
    for result in methods.values():
        if raw and "privacy" in result:
            privacy = result["privacy"]
            leakage = normalised_leakage(privacy["cmap"], privacy["chance_cmap"], raw["cmap"])
            # None where the raw classifier is not above chance: there was nothing to leak.
            privacy["normalised_leakage"] = None if math.isnan(leakage) else leakage


def _summary(run: setup.Run) -> dict[str, float]:
    """Of the last tenth of the minimax steps: the distance reached, how often the penalty acted."""
    lines = read_metrics(run.workdir / "metrics" / f"{minimax.NAME}.jsonl")
    last = [line for line in lines if line["step"] > 0.9 * lines[-1]["step"]]
    names = ("penalty/distance", "penalty/active", "penalty/multiplier")
    found = {name: [line[name] for line in last if name in line] for name in names}
    return {name: sum(values) / len(values) for name, values in found.items() if values}
