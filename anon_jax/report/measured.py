"""The further measurements of a method as numbers: attackers, reconstruction, people, frames, cost.

What a run did not measure is None, or an empty list.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from anon_jax.report.tree import at, number

# Which of them stands first beside another with the same cMAP.
ATTACKS = ("direct", "reconstruction", "white_box")
_RECONSTRUCTION = (
    *("psnr", "ssim", "anonymized_psnr", "anonymized_ssim"),
    *("frames", "steps", "best_step"),
)
_WHITE_BOX = (
    *("steps", "frames", "psnr", "ssim", "decoder_psnr", "decoder_ssim"),
    *("mismatch", "mismatch_before", "cmap", "auroc"),
)
_IDENTITY = ("rank1", "map", "chance_rank1", "chance_map", "num_queries", "num_people")
_FRAMES = ("videos", "frames", "flicker", "raw_flicker", "distance", "psnr", "ssim")
_COST = ("parameters", "gflops_per_frame", "ms_per_frame", "frames_per_call")
_SCORES = ("cmap", "auroc", "f1", "f1_tuned", "best_step")


def further(found: Any) -> dict[str, Any]:
    """What a method's entry of results.json holds beyond the action and the direct attack."""
    return {
        "attackers": attackers(found),
        "worst_case": _worst_case(at(found, "worst_case")),
        "reconstruction": _reconstruction(at(found, "reconstruction")),
        "white_box": _white_box(at(found, "reconstruction", "white_box")),
        "identity": _identity(at(found, "identity")),
        "frames": _frames(at(found, "frames")),
        "cost": _cost(at(found, "frames", "cost")),
        "frames_with_boxes": number(at(found, "action", "frames_with_boxes")),
    }


def attackers(found: Any) -> list[dict[str, Any]]:
    """Everybody who attacked a method, the direct ones first; the strongest has the largest cMAP.

    An entry has the figures, None where they were not measured, `attack` (of `ATTACKS`), `network`
    and `start`: the seed of its initial parameters, or "pre-trained".
    """
    entries = [
        _attacker(attack, name, scores)
        for attack, privacy in (
            ("direct", at(found, "privacy")),
            ("reconstruction", at(found, "reconstruction", "privacy")),
        )
        for name, scores in (at(privacy, "attackers") or {}).items()
    ]
    box = at(found, "reconstruction", "white_box")
    if number(at(box, "cmap")) is not None:
        entries.append(_attacker("white_box", at(box, "attacker"), box))
    known = [entry["cmap"] for entry in entries if entry["cmap"] is not None]
    for entry in entries:
        entry["strongest"] = bool(known) and entry["cmap"] == max(known)
    return entries


def interval(value: Any) -> list[float] | None:
    """[low, high], or None where it is not a pair of finite numbers."""
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        return None
    limits = [number(limit) for limit in value]
    return None if None in limits else [limit for limit in limits if limit is not None]


def ratio(value: float | None, of: float | None) -> float | None:
    """None where it is not defined."""
    return None if value is None or not of else value / of


def mean_over_steps(lines: Sequence[Mapping[str, float]], name: str) -> float | None:
    """A metric over the whole phase: a line is the mean of the steps since the line before it."""
    covered = np.diff([line["step"] for line in lines], prepend=0)
    found = [(line[name], n) for line, n in zip(lines, covered, strict=True) if name in line]
    if not found:
        return None
    values, weights = zip(*found, strict=True)
    return float(np.average(values, weights=weights))


def _attacker(attack: str, name: Any, scores: Any) -> dict[str, Any]:
    network, _, start = str(name or "").rpartition("-")
    steps = {} if attack == "white_box" else {"best_step": number(at(scores, "best_step"))}
    return {
        "attack": attack,
        "attacker": str(name or ""),
        "network": network or start,
        "start": "pre-trained" if start == "pretrained" else start.removeprefix("seed"),
        **{key: number(at(scores, key)) for key in _SCORES},
        **steps,
    }


def _worst_case(found: Any) -> dict[str, Any] | None:
    if number(at(found, "cmap")) is None:
        return None
    return {
        "cmap": number(found["cmap"]),
        "attack": found.get("attack"),
        "attacker": found.get("attacker"),
        "normalised_leakage": number(found.get("normalised_leakage")),
    }


def _reconstruction(found: Any) -> dict[str, Any] | None:
    if not found:
        return None
    return {
        "decoder": at(found, "decoder"),
        **_numbers(found, _RECONSTRUCTION),
        "cmap": number(at(found, "privacy", "cmap")),
        "attacker": at(found, "privacy", "attacker"),
        "split": at(found, "split"),
    }


def _white_box(found: Any) -> dict[str, Any] | None:
    if not found:
        return None
    return {**_numbers(found, _WHITE_BOX), "attacker": at(found, "attacker")}


def _identity(found: Any) -> dict[str, Any] | None:
    if not found:
        return None
    names = {name: at(found, name) for name in ("network", "split")}
    return {**_numbers(found, _IDENTITY), **names, **_numbers(found, ("steps", "best_step"))}


def _frames(found: Any) -> dict[str, Any] | None:
    if not found:
        return None
    figures = _numbers(found, _FRAMES)
    return {
        **figures,
        "flicker_ratio": ratio(figures["flicker"], figures["raw_flicker"]),
        # An infinite PSNR is kept as null.
        "identical": figures["distance"] == 0,
        "split": at(found, "split"),
    }


def _cost(found: Any) -> dict[str, Any] | None:
    if not found:
        return None
    return {**_numbers(found, _COST), "backend": at(found, "backend")}


def _numbers(found: Mapping[str, Any], names: Sequence[str]) -> dict[str, float | None]:
    return {name: number(at(found, name)) for name in names}
