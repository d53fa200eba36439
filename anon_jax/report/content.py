"""The numbers of a report, from results.json: what is missing is None, nothing is formatted."""

from collections.abc import Mapping, Sequence
from typing import Any

from anon_jax.methods import METHODS
from anon_jax.report import words
from anon_jax.report.measured import further, interval, mean_over_steps
from anon_jax.report.tree import at, number

_ACTION = ("top1", "chance", "majority", "num_videos", "steps", "best_step")
_PRIVACY = (
    "cmap",
    "chance_cmap",
    "normalised_leakage",
    "f1",
    "f1_tuned",
    "f1_published",
    "always_yes_f1",
    "auroc",
    "steps",
    "best_step",
)
_PER_ATTRIBUTE = ("ap", "auroc", "f1")


def build(
    results: Mapping[str, Any],
    config: Mapping[str, Any],
    minimax_lines: Sequence[Mapping[str, float]],
) -> dict[str, Any]:
    """What report.json holds; scores are shares in [0, 1], times are seconds.

    Args:
      results: of results.json.
      config: of config.json.
      minimax_lines: of metrics/minimax.jsonl; empty where there are none.
    """
    measured = at(results, "methods") or {}
    names = sorted(measured, key=lambda name: (name != "raw", name))
    rows = [_row(name, measured[name], measured.get("raw", {})) for name in names]
    report = {
        "method": str(results.get("method", "")),
        "privacy_source": at(config, "evaluate_privacy", "source"),
        "methods": rows,
        "attributes": _attributes(names, measured),
        "left_out": _left_out(names, measured),
        "minimax": _minimax(results, config, minimax_lines),
        "settings": {
            "seed": results.get("seed"),
            "datasets": {
                role: name
                for role in words.DATASETS
                if (name := at(results, "datasets", role)) or role != "tested_attributes"
            },
            "versions": at(results, "versions") or {},
            "seconds": at(results, "seconds") or {},
        },
    }
    return {"summary": words.summary(report), **report}


def _row(name: str, found: Any, raw: Any) -> dict[str, Any]:
    """A method's measurements, each beside its drop against the run's own raw backbone."""
    action = {key: number(at(found, "action", key)) for key in _ACTION}
    privacy = {key: number(at(found, "privacy", key)) for key in _PRIVACY}
    raw_top1, raw_cmap = number(at(raw, "action", "top1")), number(at(raw, "privacy", "cmap"))
    top1, cmap = action["top1"], privacy["cmap"]
    return {
        "method": name,
        "action": {
            **action,
            "drop": None if top1 is None or raw_top1 is None else raw_top1 - top1,
            "kept": None if top1 is None or not raw_top1 else top1 / raw_top1,
            "interval": interval(at(found, "action", "top1_interval")),
            "split": at(found, "action", "split"),
        },
        "privacy": {
            **privacy,
            "drop": None if cmap is None or raw_cmap is None else raw_cmap - cmap,
            "interval": interval(at(found, "privacy", "cmap_interval")),
            "split": at(found, "privacy", "split"),
        },
        **further(found),
    }


def _attributes(names: Sequence[str], measured: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One entry an attribute, in the dataset's order: prevalence, and the scores of each method."""
    found = {name: at(measured[name], "privacy", "per_attribute") or {} for name in names}
    attributes = list(dict.fromkeys(attribute for name in names for attribute in found[name]))
    return [
        {
            "attribute": attribute,
            "prevalence": next(
                (number(at(found[n], attribute, "prevalence")) for n in names if found[n]), None
            ),
            "methods": {
                name: {key: number(at(found[name], attribute, key)) for key in _PER_ATTRIBUTE}
                for name in names
                if found[name]
            },
        }
        for attribute in attributes
    ]


def _left_out(names: Sequence[str], measured: Mapping[str, Any]) -> list[str]:
    """Attributes of one class only, which enter no figure; the same for each method of a run."""
    found = [at(measured[name], "privacy", "left_out") or [] for name in names]
    return list(dict.fromkeys(str(attribute) for left_out in found for attribute in left_out))


def _minimax(
    results: Mapping[str, Any],
    config: Mapping[str, Any],
    lines: Sequence[Mapping[str, float]],
) -> dict[str, Any] | None:
    """The penalty's part in the minimax training, or None where nothing was trained."""
    last = at(results, "minimax")
    if not last:
        return None
    penalty = at(config, "minimax", "penalty") or {}
    method = METHODS.get(str(results.get("method")))
    facts = {
        "distance": number(last.get("penalty/distance")),
        "active": number(last.get("penalty/active")),
        "active_all_steps": mean_over_steps(lines, "penalty/active"),
        "multiplier": number(last.get("penalty/multiplier")),
        "steps": lines[-1]["step"] if lines else None,
        "has_penalty": method is None or method.penalty,
        "budget": number(penalty.get("budget")),
        "mode": penalty.get("mode"),
        "reduction": penalty.get("reduction"),
        "space": penalty.get("space"),
        "multiplier_max": number(penalty.get("multiplier_max")),
        "constant": bool(at(config, "compat", "constant_penalty")),
        "weights": {
            name: number(at(config, "minimax", "weights", name))
            for name in ("action", "privacy", "penalty")
        },
    }
    return {**facts, "verdict": words.penalty_verdict(facts)}
