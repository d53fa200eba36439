"""Tables of a run's stronger attacks, of re-identification, frames and cost; empty where absent."""

from collections.abc import Mapping, Sequence
from typing import Any

from anon_jax.report.formats import MISSING, change, count, decimal, percent, short
from anon_jax.report.table import Column, Table, tabulate

_ATTACKS = {"direct": "direct", "reconstruction": "reconstruction", "white_box": "white box"}
_NAMES = [Column("Method", lambda entry: entry["method"])]
_EMPTY = Table([], [])

Rows = Sequence[Mapping[str, Any]]


def build(methods: Rows) -> dict[str, Table]:
    """The tables by name, of the methods of `content.build`."""
    return {
        "worst_case": _worst_case(methods),
        "attackers": _attackers(methods),
        "reconstruction": _reconstruction(methods),
        "white_box": _white_box(methods),
        "identity": _identity(methods),
        "frames": _frames(methods),
        "cost": _cost(methods),
    }


def attack_name(attack: Any) -> str:
    """An attack of `measured.ATTACKS` as pages call it."""
    return _ATTACKS.get(attack, short(attack))


def _entries(methods: Rows, name: str) -> list[dict[str, Any]]:
    return [{**row[name], "method": row["method"]} for row in methods if row[name]]


def _worst_case(methods: Rows) -> Table:
    """Beside the direct attack; without a reconstruction there is nothing else it could be."""
    if not any(row["reconstruction"] for row in methods):
        return _EMPTY
    rows = []
    for row in methods:
        direct, worst = row["privacy"], row["worst_case"]
        if worst:
            cells = [percent(direct["cmap"]), decimal(direct["normalised_leakage"], 2)]
            cells += [percent(worst["cmap"]), decimal(worst["normalised_leakage"], 2)]
            cells += [attack_name(worst["attack"]), short(worst["attacker"])]
            rows.append([row["method"], *cells])
    headers = ["Method", "Direct cMAP", "Direct leakage", "Worst-case cMAP", "Worst-case leakage"]
    return Table([*headers, "Attack", "Attacker"], rows)


def _attackers(methods: Rows) -> Table:
    entries = [{**found, "method": row["method"]} for row in methods for found in row["attackers"]]
    return tabulate(
        entries,
        [
            *_NAMES,
            Column("cMAP", lambda entry: percent(entry["cmap"])),
            Column("Strongest", lambda entry: "yes" if entry["strongest"] else ""),
            Column("Attack", lambda entry: attack_name(entry["attack"])),
            Column("Network", lambda entry: entry["network"]),
            Column("Seed", lambda entry: entry["start"] or MISSING),
            Column("AUROC", lambda entry: decimal(entry["auroc"])),
            Column("F1 at 0.5", lambda entry: decimal(entry["f1"])),
            Column("F1 tuned", lambda entry: decimal(entry["f1_tuned"])),
        ],
    )


def _reconstruction(methods: Rows) -> Table:
    return tabulate(
        _entries(methods, "reconstruction"),
        [
            *_NAMES,
            Column("Decoder", lambda entry: short(entry["decoder"])),
            Column("PSNR anonymized, dB", lambda entry: decimal(entry["anonymized_psnr"], 1)),
            Column("PSNR reconstructed, dB", lambda entry: decimal(entry["psnr"], 1)),
            Column("SSIM anonymized", lambda entry: decimal(entry["anonymized_ssim"])),
            Column("SSIM reconstructed", lambda entry: decimal(entry["ssim"])),
            Column("Attackers' cMAP", lambda entry: percent(entry["cmap"])),
            Column("Frames", lambda entry: count(entry["frames"])),
            *_origin(),
        ],
    )


def _white_box(methods: Rows) -> Table:
    return tabulate(
        _entries(methods, "white_box"),
        [
            *_NAMES,
            Column("PSNR, dB", lambda entry: change(entry["decoder_psnr"], entry["psnr"], 1)),
            Column("SSIM", lambda entry: change(entry["decoder_ssim"], entry["ssim"])),
            Column("Mismatch", lambda entry: change(entry["mismatch_before"], entry["mismatch"])),
            Column("cMAP", lambda entry: percent(entry["cmap"])),
            Column("AUROC", lambda entry: decimal(entry["auroc"])),
            Column("Attacker", lambda entry: short(entry["attacker"])),
            Column("Steps", lambda entry: short(entry["steps"])),
            Column("Frames", lambda entry: count(entry["frames"])),
        ],
    )


def _identity(methods: Rows) -> Table:
    return tabulate(
        _entries(methods, "identity"),
        [
            *_NAMES,
            Column("Rank-1", lambda entry: percent(entry["rank1"])),
            Column("Chance rank-1", lambda entry: percent(entry["chance_rank1"])),
            Column("mAP", lambda entry: percent(entry["map"])),
            Column("Chance mAP", lambda entry: percent(entry["chance_map"])),
            Column("Clips", lambda entry: count(entry["num_queries"])),
            Column("People", lambda entry: count(entry["num_people"])),
            Column("Network", lambda entry: short(entry["network"])),
            *_origin(),
        ],
    )


def _frames(methods: Rows) -> Table:
    return tabulate(
        _entries(methods, "frames"),
        [
            *_NAMES,
            Column("Flicker", lambda entry: decimal(entry["flicker"], 4)),
            Column("Flicker of raw", lambda entry: decimal(entry["raw_flicker"], 4)),
            Column("Ratio", lambda entry: decimal(entry["flicker_ratio"], 2)),
            Column("Distance", lambda entry: decimal(entry["distance"])),
            Column("PSNR, dB", psnr),
            Column("SSIM", lambda entry: decimal(entry["ssim"])),
            Column("Videos", lambda entry: count(entry["videos"])),
            Column("Split", lambda entry: short(entry["split"])),
        ],
    )


def psnr(entry: Mapping[str, Any]) -> str:
    """Infinite where nothing was changed."""
    return "identical" if entry["identical"] else decimal(entry["psnr"], 1)


def _cost(methods: Rows) -> Table:
    return tabulate(
        _entries(methods, "cost"),
        [
            *_NAMES,
            Column("Parameters", lambda entry: count(entry["parameters"])),
            Column("GFLOPs a frame", lambda entry: decimal(entry["gflops_per_frame"], 2)),
            Column("ms a frame", lambda entry: decimal(entry["ms_per_frame"], 2)),
            Column("Frames a call", lambda entry: short(entry["frames_per_call"])),
            Column("Backend", lambda entry: short(entry["backend"])),
        ],
    )


def _origin() -> list[Column]:
    return [
        Column("Split", lambda entry: short(entry["split"])),
        Column("Best step", lambda e: chosen(e["best_step"], e["steps"])),
    ]


def chosen(best: float | None, steps: float | None) -> str:
    """The step whose checkpoint was tested."""
    return MISSING if best is None else f"{short(best)} of {short(steps)}"
